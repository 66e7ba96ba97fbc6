"""Weights and names from elsewhere as NumPy arrays: no framework is imported, nothing in a file is executed."""

from __future__ import annotations

from graphdet.importers.weights import Weights, match_names, read_weights, write_safetensors

__all__ = ["Weights", "match_names", "read_weights", "write_safetensors"]
