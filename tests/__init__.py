"""Tests. Helper modules import as `tests.<room>.<module>`."""
