"""Tests of the typed graph."""
