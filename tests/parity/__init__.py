"""Detectors against the figures that the reference implementation recorded."""
