"""A misspelt variant."""

import graphdet



graphdet.get("retinanet_50")
