"""What three or more detectors share."""
