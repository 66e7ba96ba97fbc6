"""Tests of graphdet.data."""
