"""Run compiled detectors: `load("x.gdet")` gives an engine, the engine turns images into detections.

Needs NumPy, OpenCV and the backend that the artefact was built for; never PyTorch, never the compiler.
"""

from __future__ import annotations

from graphdet.runtime.artefact import Artefact, read_artefact, write_artefact
from graphdet.runtime.engine import Engine, load

__all__ = ["Artefact", "Engine", "load", "read_artefact", "write_artefact"]
