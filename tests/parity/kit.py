"""Reading the reference figures of parity cases, and making the same weights, images and ground truth (NumPy only)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphdet.ir import Graph
from graphdet.ir.initial import initial_values
from graphdet.records import Array

PROPOSALS = 50
COUNTERS = "num_batches_tracked"


def load_case(folder: Path, name: str) -> dict[str, Any]:
    """One recorded case."""
    case: dict[str, Any] = json.loads((folder / "cases" / f"{name}.json").read_text())
    return case


def generator(name: str, seed: int) -> np.random.Generator:
    """The stream that belongs to a name."""
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))


def weights(case: Mapping[str, Any], graph: Graph) -> dict[str, Array]:
    """The recorded run's values of all parameters and buffers of a graph."""
    values = initial_values(graph)
    for name, shape, kind in case["parameters"]:
        leaf = name.rsplit(".", 1)[-1]
        if kind == "p" or leaf in ("running_mean", "running_var"):
            values[name] = _fill(
                leaf, generator(name, case["seed"]).standard_normal(tuple(shape), dtype=np.float32), case["gain"]
            )
    return values


def _fill(leaf: str, z: Any, gain: float) -> Array:
    z = np.asarray(z)
    if leaf == "running_var":
        return np.asarray(1 + 0.2 * np.abs(z), np.float32)
    if leaf == "running_mean":
        return np.asarray(0.1 * z, np.float32)
    if z.ndim >= 2:
        return np.asarray(gain * z / np.sqrt(np.prod(z.shape[1:])), np.float32)
    return np.asarray(1 + 0.1 * z if leaf == "weight" else 0.05 * z, np.float32)


def pixels(shape: tuple[int, int, int, int], seed: int) -> Array:
    """The recorded run's input images: waves and noise."""
    n, _, h, w = shape
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    out = np.empty(shape, np.float32)
    for i in range(n):
        for c in range(3):
            stream = generator(f"image.{i}.{c}", seed)
            plane = 0.35 * stream.standard_normal((h, w), dtype=np.float32)
            for _ in range(4):
                fx, fy, phase = stream.uniform(-0.15, 0.15), stream.uniform(-0.15, 0.15), stream.uniform(0, 6.28)
                plane += np.float32(0.6) * np.sin(fx * x + fy * y + phase).astype(np.float32)
            out[i, c] = plane
    return out


def truth(case: Mapping[str, Any]) -> tuple[Array, Array, Array]:
    """The recorded run's ground truth, padded: boxes f32[N G 4], labels i64[N G], count i64[N]."""
    n, most = len(case["valid"]), max(case["counts"])
    boxes, labels, count = np.zeros((n, most, 4), np.float32), np.zeros((n, most), np.int64), np.zeros(n, np.int64)
    for i, (h, w) in enumerate(case["valid"]):
        stream, k = generator(f"truth.{i}", case["seed"]), case["counts"][i % len(case["counts"])]
        cx, cy = stream.uniform(0.2, 0.8, k) * w, stream.uniform(0.2, 0.8, k) * h
        bw, bh = stream.uniform(0.1, 0.5, k) * w, stream.uniform(0.1, 0.5, k) * h
        sides = [
            np.clip(cx - bw / 2, 0, w - 8),
            np.clip(cy - bh / 2, 0, h - 8),
            np.clip(cx + bw / 2, 8, w),
            np.clip(cy + bh / 2, 8, h),
        ]
        boxes[i, :k] = np.stack(sides, 1)
        labels[i, :k] = stream.integers(0, case["num_classes"], k)
        count[i] = k
    return boxes, labels, count


def proposals(case: Mapping[str, Any]) -> Array:
    """The recorded run's proposals of a detector that is given them, f32[N 50 4]: uniform centres and sizes."""
    out = []
    for i, (h, w) in enumerate(case["valid"]):
        stream = generator(f"proposals.{i}", case["seed"])
        centre, side = stream.uniform(0, 1, (PROPOSALS, 2)) * (w, h), stream.uniform(8, 120, (PROPOSALS, 2))
        out.append(np.concatenate([centre - side / 2, centre + side / 2], 1).clip(0, (w, h, w, h)))
    return np.asarray(out, np.float32)


def bitmaps(case: Mapping[str, Any], boxes: Array, count: Array) -> Array:
    """The recorded run's masks, u8[N G H W]: the ellipse in each box, over the padded input."""
    h, w = case["input"][2:]
    y, x = np.mgrid[0:h, 0:w] + 0.5
    masks = np.zeros((*boxes.shape[:2], h, w), np.uint8)
    for i, many in enumerate(count):
        for j, (x1, y1, x2, y2) in enumerate(boxes[i, :many]):
            across, down = (x - (x1 + x2) / 2) / ((x2 - x1) / 2), (y - (y1 + y2) / 2) / ((y2 - y1) / 2)
            masks[i, j] = across**2 + down**2 <= 1
    return masks


def with_stuff(
    case: Mapping[str, Any], boxes: Array, labels: Array, count: Array, masks: Array
) -> tuple[Array, Array, Array, Array]:
    """The truth with a segment for each class of stuff of the recorded run's semantic maps, which instances paint over.

    A map is a pattern of tiles with a strip of no class at the bottom.
    """
    (h, w), classes = case["input"][2:], case["num_semantic"]
    y, x = np.mgrid[0:h, 0:w]
    found = []
    for i, many in enumerate(count):
        painted = (y // 16 * 7 + x // 16 * 3) % classes
        for j in range(many):
            painted[masks[i, j] > 0] = labels[i, j]
        painted[-8:] = classes
        found.append([(c, painted == c) for c in range(case["num_classes"], classes) if (painted == c).any()])
    most = max(int(c) + len(stuff) for c, stuff in zip(count, found, strict=True))
    wide = [np.zeros((len(count), most, *a.shape[2:]), a.dtype) for a in (boxes, labels, masks)]
    for i, (many, stuff) in enumerate(zip(count, found, strict=True)):
        for new, old in zip(wide, (boxes, labels, masks), strict=True):
            new[i, :many] = old[i, :many]
        for j, (label, mask) in enumerate(stuff, many):
            wide[1][i, j], wide[2][i, j] = label, mask
    return wide[0], wide[1], count + [len(stuff) for stuff in found], wide[2]


def inputs(case: Mapping[str, Any]) -> dict[str, Array]:
    """Graph inputs of a case.

    The recorded training runs declared the whole padded input as each image's padded shape; boxes are clipped to the
    unpadded shape.
    """
    boxes, labels, count = truth(case)
    masks = bitmaps(case, boxes, count)
    if case["model_type"] == "Mask2Former" and case["num_semantic"]:
        boxes, labels, count, masks = with_stuff(case, boxes, labels, count, masks)
    n = len(case["valid"])
    threshold = case["overrides"].get("score_thr")
    return {
        **({} if threshold is None else {"score_threshold": np.asarray(threshold, np.float32)}),
        "pixels": pixels(tuple(case["input"]), case["seed"]),
        "size": np.asarray(case["valid"], np.float32),
        "padded": np.asarray([case["input"][2:]] * n, np.float32),
        "geometry": np.tile(np.asarray([1, 1, 0, 0], np.float32), (n, 1)),
        "proposals.boxes": proposals(case),
        "proposals.count": np.full(n, PROPOSALS),
        **{k.replace("score_thr", "score_threshold"): np.asarray(v, np.float32) for k, v in case["overrides"].items()},
        "truth.boxes": boxes,
        "truth.labels": labels,
        "truth.count": count,
        "truth.masks": masks,
    }


def sample(array: Array, count: int = 64) -> Array:
    """Evenly spaced entries of a flattened array, as the cases record them."""
    flat = np.asarray(array).reshape(-1).astype(np.float64)
    return flat if flat.size <= count else flat[np.linspace(0, flat.size - 1, count).astype(np.int64)]
