"""Necks: from backbone features to the levels that heads read."""
