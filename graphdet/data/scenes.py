"""Drawn detection scenes: textured backgrounds with shaded, turned, partly overlapping shapes, and their exact boxes.

They need no download and no licence, and a small detector learns them in minutes. Everything follows from the seed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import pi
from pathlib import Path

import numpy as np

from graphdet.data.dataset import Sample
from graphdet.data.figures import SHAPES, Figure, Rng, figure, paint
from graphdet.errors import BadDataset, MissingFile
from graphdet.records import Array, Truth

SCENE_CLASSES: tuple[str, ...] = tuple(SHAPES)
MIN_EXTENT = 16.0  # pixels, longer side of the smallest figure
MIN_VISIBLE = 0.4  # of a figure's area, inside the image and not covered by later figures
MAX_IOU = 0.5  # of two boxes, so that non-maximum suppression can keep both


def scene(rng: Rng, size: tuple[int, int] = (320, 320), max_objects: int = 8) -> tuple[Array, Truth]:
    """Draw one scene.

    Args:
        rng: the only source of chance; equal generators give equal scenes.
        size: (height, width) in pixels, each at least 32.
        max_objects: most figures; one scene in about 30 has none.

    Returns:
        u8[H W 3] BGR and the truth: boxes in pixels, tight around the part of each figure inside the image. What other
        figures cover counts as part of a figure; at least `MIN_VISIBLE` of its area can be seen.

    Raises:
        BadDataset: the size is too small.
    """
    if min(size) < 32:
        raise BadDataset(f"scenes of {size[0]}x{size[1]} pixels are too small, expected at least 32x32")
    figures = layout(rng, size, max_objects)
    canvas = _background(rng, size)
    for shape in figures:
        paint(rng, canvas, shape)
    return _photograph(rng, canvas), truth_of(figures, size)


def truth_of(figures: Sequence[Figure], size: tuple[int, int]) -> Truth:
    """The truth of placed figures: tight boxes of their parts inside an image of (height, width)."""
    boxes = np.array([f.box_inside(size) for f in figures], np.float32).reshape(-1, 4)
    return Truth(boxes, np.array([f.label for f in figures], np.int64), np.zeros(len(figures), np.bool_))


# --- layout -----------------------------------------------------------------------------------------------------------


def layout(rng: Rng, size: tuple[int, int], max_objects: int) -> list[Figure]:
    """Choose figures, painted in this order, that keep to `MIN_VISIBLE` and `MAX_IOU`."""
    wanted = int(rng.integers(1, max_objects + 1)) if max_objects > 0 and rng.random() > 0.03 else 0
    height, width = size
    placed: list[Figure] = []
    visible: list[Array] = []
    for _ in range(12 * wanted):  # a crowded image may end with fewer than wanted
        if len(placed) == wanted:
            break
        extent = float(np.exp(rng.uniform(np.log(MIN_EXTENT), np.log(min(size) / 2))))
        label = int(rng.integers(len(SHAPES)))
        centre = (rng.uniform(0.02, 0.98) * width, rng.uniform(0.02, 0.98) * height)
        shape = figure(rng, label, centre, extent)
        remaining = _fit(shape, placed, visible, size)
        if remaining is not None:
            placed.append(shape)
            visible = remaining
    return placed


def _fit(shape: Figure, placed: list[Figure], visible: list[Array], size: tuple[int, int]) -> list[Array] | None:
    """Masks of what stays visible when `shape` is painted last, or None when that breaks a rule."""
    mask = shape.mask(size) > 0.5
    # 1.5 x MIN_VISIBLE inside the image leaves room for one neighbour on top.
    if mask.sum() < 1.5 * MIN_VISIBLE * shape.area() or any(_iou(shape, p, size) > MAX_IOU for p in placed):
        return None
    remaining = [v & ~mask for v in visible]
    if any(v.sum() < MIN_VISIBLE * p.area() for v, p in zip(remaining, placed, strict=True)):
        return None
    return [*remaining, mask]


def _iou(a: Figure, b: Figure, size: tuple[int, int]) -> float:
    p, q = truth_of([a, b], size).boxes
    width, height = np.clip(np.minimum(p[2:], q[2:]) - np.maximum(p[:2], q[:2]), 0, None)
    shared = width * height
    return float(shared / max(1e-9, np.prod(p[2:] - p[:2]) + np.prod(q[2:] - q[:2]) - shared))


# --- background and camera --------------------------------------------------------------------------------------------


def _background(rng: Rng, size: tuple[int, int]) -> Array:
    """f32[H W 3]: a gradient of two colours under cloud noise, perhaps stripes, and some clutter that is no object."""
    import cv2

    height, width = size
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    angle = rng.uniform(0, 2 * pi)
    ramp = ((np.cos(angle) * x + np.sin(angle) * y) / 2.83 + 0.5).astype(np.float32)
    base = rng.uniform(30, 225)
    ends = np.clip(base + rng.normal(0, 28, (2, 3)), 0, 255).astype(np.float32)
    canvas = ends[0] + (ends[1] - ends[0]) * ramp[..., None]
    for cells in (3, 7, 24):
        noise = rng.normal(0, rng.uniform(2, 46 / cells**0.5), (cells, cells, 3)).astype(np.float32)
        noise = noise.mean(axis=2, keepdims=True) + 0.4 * noise
        canvas += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.3:
        turn, waves = rng.uniform(0, pi), rng.uniform(6, 40)
        wave = np.sin(waves * (np.cos(turn) * x + np.sin(turn) * y) + rng.uniform(0, 2 * pi))
        canvas += rng.uniform(4, 16) * wave[..., None].astype(np.float32)
    canvas = np.ascontiguousarray(np.clip(canvas, 0, 255))
    for _ in range(int(rng.integers(0, 7))):
        _clutter(rng, canvas)
    return canvas


def _clutter(rng: Rng, canvas: Array) -> None:
    """An open polyline of one to four bends across the canvas: an edge like those of shapes, which is none."""
    import cv2

    height, width = canvas.shape[:2]
    steps = rng.uniform(-0.35, 0.35, (int(rng.integers(2, 6)), 2)) * (width, height)
    points = rng.uniform(0, 1, 2) * (width, height) + np.cumsum(steps, axis=0)
    spot = np.clip(points[0], 0, (width - 1, height - 1)).astype(int)
    colour = np.clip(canvas[spot[1], spot[0]] + rng.normal(0, 45, 3), 0, 255)
    layer = canvas.astype(np.uint8)  # anti-aliased lines exist for 8-bit images only
    thick = int(rng.integers(1, max(2, min(height, width) // 80) + 1))
    cv2.polylines(layer, [np.round(points * 16).astype(np.int32)], False, colour.tolist(), thick, cv2.LINE_AA, 4)
    canvas[:] = layer


def _photograph(rng: Rng, canvas: Array) -> Array:
    """A little blur, exposure and sensor noise; to u8."""
    import cv2

    if rng.random() < 0.5:
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.3, 1.0))
    gain = rng.uniform(0.85, 1.1)
    noise = rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(0, 7))
    return np.clip(canvas * np.float32(gain) + noise + 0.5, 0, 255).astype(np.uint8)


# --- dataset ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenes:
    """A dataset of `count` scenes; sample `index` depends on (seed, index) alone, in any order and any process."""

    count: int
    seed: int = 0
    size: tuple[int, int] = (320, 320)
    max_objects: int = 8
    classes: tuple[str, ...] = field(default=SCENE_CLASSES, init=False)

    def __len__(self) -> int:
        """Number of scenes."""
        return self.count

    def sample(self, index: int) -> Sample:
        """Draw the scene at a position; image ids are positions + 1."""
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        image, truth = scene(np.random.default_rng([self.seed, index]), self.size, self.max_objects)
        return Sample(image, index + 1, self.size, truth)


def write_coco(
    folder: str | Path, count: int, seed: int = 0, size: tuple[int, int] = (320, 320), max_objects: int = 8
) -> Path:
    """Write scenes as `folder/images/*.jpg` and `folder/annotations.json` in COCO's format.

    Returns:
        The path of the annotation file: read the set back as `coco:folder/images:folder/annotations.json`.

    Raises:
        MissingFile: the folder cannot be created or written to.
    """
    import cv2

    images: list[dict[str, object]] = []
    notes: list[dict[str, object]] = []
    target = Path(folder) / "images"
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissingFile(f"folder {str(target)!r} cannot be created ({error.strerror})") from error
    dataset = Scenes(count, seed, size, max_objects)
    for index in range(count):
        sample = dataset.sample(index)
        name = f"{sample.id:06d}.jpg"
        ok, data = cv2.imencode(".jpg", sample.pixels(), [cv2.IMWRITE_JPEG_QUALITY, 95])
        assert ok, "an 8-bit image of at least 32x32 pixels is always encodable"
        (target / name).write_bytes(data.tobytes())
        images.append({"id": sample.id, "file_name": name, "height": size[0], "width": size[1]})
        for box, label in zip(sample.truth.boxes.tolist(), sample.truth.labels.tolist(), strict=True):
            x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
            note = {"id": len(notes) + 1, "image_id": sample.id, "category_id": label + 1, "bbox": [x, y, w, h]}
            notes.append(note | {"area": w * h, "iscrowd": 0})
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(SCENE_CLASSES)]
    file = Path(folder) / "annotations.json"
    file.write_text(json.dumps({"images": images, "annotations": notes, "categories": categories}), encoding="utf-8")
    return file
