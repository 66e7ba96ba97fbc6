"""Segments for OpenVINO."""
