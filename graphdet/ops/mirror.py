"""Mirroring of padded images inside their own bounds, and of boxes with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.errors import UnknownName, nearest
from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, ROWWISE, op
from graphdet.ir.types import Type
from graphdet.ops.box import random_boxes
from graphdet.ops.math import Example

AXES = ("horizontal", "vertical")


def _same(x: Type, size: Type, *, axis: str) -> Type:
    if axis not in AXES:
        raise UnknownName(f"unknown axis {axis!r}; known: {', '.join(AXES)}", help=nearest(axis, AXES), about="axis")
    return x


def _side(axis: str) -> int:
    """Which number of a size row is the extent along an axis."""
    return 1 if axis == "horizontal" else 0


@op("f[N C H W], f[N 2] -> f[N C H W]")
def mirror(x: Value, size: Value, *, axis: str = "horizontal") -> Value:
    """Each image of a padded batch left to right (or top to bottom) inside its own size; its padding stays.

    size: rows (height, width) in whole pixels; a fraction is rounded.
    """
    ...


mirror.infer(_same)


@mirror.reference
def _(x: Any, size: Any, *, axis: str) -> Any:
    out = x.copy()
    for i, (height, width) in enumerate(np.rint(size).astype(int)):
        if axis == "horizontal":
            out[i, :, :, :width] = x[i, :, :, :width][..., ::-1]
        else:
            out[i, :, :height] = x[i, :, :height][:, ::-1]
    return out


@mirror.torch
def _(t: Any, x: Any, size: Any, *, axis: str) -> Any:
    along = _side(axis) + 2
    place = t.arange(x.shape[along], device=x.device)[None]
    end = size[:, _side(axis), None].round().to(t.int64)
    source = t.where(place < end, end - 1 - place, place)
    return x.gather(along, source.reshape(len(x), 1, *((1, -1) if along == 3 else (-1, 1))).expand_as(x))


@mirror.onnx
def _(e: Any, x: Any, size: Any, *, axis: str) -> Any:
    first, back = ((0, 3, 1, 2), (0, 2, 3, 1)) if axis == "horizontal" else ((0, 2, 1, 3), (0, 2, 1, 3))
    length = e.Cast(e.Round(e.Gather(size, e.scalar(_side(axis)), axis=1)), to=e.dtype("i64"))
    turned = e.ReverseSequence(e.Transpose(x, perm=first), length, batch_axis=0, time_axis=1)
    return e.Transpose(turned, perm=back)


@mirror.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    size = np.asarray([[3, 5], [2, 4]], np.float32)
    yield ((2, 3, 4, 5), size), {}
    yield ((2, 3, 4, 5), size), {"axis": "vertical"}


@op("boxes<xyxy,net>[N K 4], f[N 2] -> boxes<xyxy,net>[N K 4]", ROWWISE, FP32)
def mirror_boxes(boxes: Value, size: Value, *, axis: str = "horizontal") -> Value:
    """Boxes of images of these sizes where `mirror` moves their pixels: x1, x2 become width - x2, width - x1."""
    ...


mirror_boxes.infer(_same)
_ORDER = {"horizontal": np.asarray([2, 1, 0, 3]), "vertical": np.asarray([0, 3, 2, 1])}


def _turns(axis: str) -> Any:
    """1 for the coordinates that turn, 0 for the others."""
    return np.asarray([1, 0, 1, 0] if axis == "horizontal" else [0, 1, 0, 1], np.float32)


@mirror_boxes.reference
def _(boxes: Any, size: Any, *, axis: str) -> Any:
    turns = _turns(axis)
    return boxes[..., _ORDER[axis]] * (1 - 2 * turns) + np.rint(size[:, _side(axis), None, None]) * turns


@mirror_boxes.torch
def _(t: Any, boxes: Any, size: Any, *, axis: str) -> Any:
    turns = boxes.new_tensor(_turns(axis))
    return boxes[..., _ORDER[axis]] * (1 - 2 * turns) + size[:, _side(axis), None, None].round() * turns


@mirror_boxes.onnx
def _(e: Any, boxes: Any, size: Any, *, axis: str) -> Any:
    turns = _turns(axis)
    extent = e.Unsqueeze(e.Round(e.Gather(size, e.scalar(_side(axis)), axis=1)), e.sizes((1, 2)))
    signed = e.Mul(e.Gather(boxes, e.constant(_ORDER[axis]), axis=2), e.constant(1 - 2 * turns))
    return e.Add(signed, e.Mul(extent, e.constant(turns)))


@mirror_boxes.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    size = np.asarray([[60, 80], [40, 50]], np.float32)
    yield (random_boxes(rng, 2, 5), size), {}
    yield (random_boxes(rng, 2, 0), size), {"axis": "vertical"}
    yield (random_boxes(rng, 2, 5), size), {"axis": "vertical"}
