"""Tests of graphdet.draw."""
