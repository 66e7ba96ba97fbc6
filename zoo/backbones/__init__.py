"""Backbones: from pixels to feature maps, finest first."""
