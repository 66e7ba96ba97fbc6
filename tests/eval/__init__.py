"""Tests of graphdet.eval."""
