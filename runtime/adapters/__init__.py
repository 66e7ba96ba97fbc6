"""Backends that run segments: a table from target to module, each with `open_segment(blob, *, threads, lean)`.

Modules are loaded by name when a target is used, so that only the packages of that target need to be installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from graphdet.errors import BackendMissing, CorruptArtefact, GdError, UnknownName, nearest
from graphdet.records import Array
from graphdet.runtime.header import CPP_TARGETS


class Segment(Protocol):
    """A compiled part of a network, ready to run: one run at a time."""

    def run(self, inputs: dict[str, Array]) -> list[Array]:
        """Outputs in the segment's own order. The arrays may be written to by the next run: copy what must stay.

        Inputs are only valid during the call.
        """
        ...

    def clone(self) -> Segment:
        """The same network for another thread; itself where runs do not disturb each other."""
        ...


@dataclass(frozen=True)
class Adapter:
    """module: where `open_segment` lives · package: what it needs to import · install: the command that brings it."""

    module: str
    package: str
    install: str


_ORT = Adapter("graphdet.runtime.adapters.onnxruntime", "onnxruntime", "pip install onnxruntime")
ADAPTERS = {
    "openvino": Adapter("graphdet.runtime.adapters.openvino", "openvino", "pip install openvino"),
    "onnxruntime": _ORT,
    "onnx": _ORT,
    "torch": Adapter("graphdet.compiler.backends.torch.segment", "torch", "pip install 'graphdet[train]'"),
}


def open_segment(target: str, blob: bytes, *, threads: int | None = None, lean: bool = False) -> Segment:
    """Compile or open a segment for `target`; threads None leaves the number to the backend.

    lean: with little memory rather than with little delay, as far as the backend can.

    Raises:
        UnknownName: no such target.
        BackendMissing: the target's package is not installed, or only C++ runs the target.
        PrecisionMismatch: the backend chose another precision than float32.
        CorruptArtefact: the backend refuses the segment.
    """
    if target in CPP_TARGETS:
        raise BackendMissing(
            f"files for target {target!r} run from C++, not from Python",
            help="build libgraphdet with TensorRT, see docs/runtime-cpp.md",
        )
    if target not in ADAPTERS:
        raise UnknownName(f"target {target!r}, expected one of {', '.join(ADAPTERS)}", help=nearest(target, ADAPTERS))
    opener = _opener(target)
    try:
        return opener(blob, threads=threads, lean=lean)
    except GdError:
        raise
    except Exception as error:  # backends raise classes of their own, which are not known here
        raise CorruptArtefact(
            f"{target} refuses a segment of {len(blob)} bytes: {str(error).strip()}",
            help=f"build the artefact with this version of {ADAPTERS[target].package}",
        ) from error


def _opener(target: str) -> Callable[..., Segment]:
    adapter = ADAPTERS[target]
    try:
        return cast(Callable[..., Segment], import_module(adapter.module).open_segment)
    except ImportError as error:
        if (error.name or "").startswith("graphdet"):  # a broken installation of graphdet, not a missing backend
            raise
        raise BackendMissing(
            f"target {target!r} needs the package {adapter.package}: {error}", help=adapter.install
        ) from error
