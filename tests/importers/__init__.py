"""Tests of graphdet.importers."""
