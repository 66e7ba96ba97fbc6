"""Features of regions of interest on a fixed grid of bins: RoIAlign, over one map or a pyramid, and RoIPool.

RoIs are xyxy in net pixels; bins are (height, width). Padded RoIs, those past an image's count, yield zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.errors import ShapeMismatch
from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, Natural, Positive, op
from graphdet.ir.types import Type
from graphdet.ops.box import random_boxes
from graphdet.ops.math import Example

Size = tuple[Positive, Positive]


def _bins(channels: Type, rows: Type, size: Size) -> Type:
    return Type(channels.dtype, (*rows.dims[:-1], channels.dims[1], *channels.with_dims(size).dims))


@op("f[N C H W], f[R 5] -> f[R C B D]", FP32)
def roi_align(
    features: Value, rois: Value, *, size: Size = (7, 7), scale: float = 1.0, samples: Natural = 0, aligned: bool = True
) -> Value:
    """Average-pool each RoI onto a grid of bins by bilinear sampling (He et al. 2017, section 3).

    RoI rows are (image, x1, y1, x2, y2) in net pixels, `scale` is 1 / stride of the features. A bin averages samples x
    samples points, or with 0 as many as the RoI's size in feature pixels asks for, ceil(size / bins) along each axis.
    `aligned`: pixel centres lie at +0.5; otherwise the grid is not shifted and a RoI has at least 1 x 1 feature pixels
    (the older rule). Points farther than one pixel outside the map count as 0. RoIs without finite coordinates yield
    zeros.
    """
    ...


roi_align.infer(lambda features, rois, *, size, scale, samples, aligned: _bins(features, rois, size))


def _starts(box: Any, scale: float, aligned: bool, size: Size) -> tuple[Any, Any]:
    """(y, x) of a RoI's corner and the (height, width) of its bins, in feature pixels."""
    corners = box * np.float32(scale) - np.float32(0.5 if aligned else 0)
    extent = corners[2:] - corners[:2]
    if not aligned:
        extent = np.maximum(extent, np.float32(1))
    return corners[1::-1], extent[::-1] / np.asarray(size, np.float32)


def _axis(start: Any, bin: Any, bins: int, samples: int, extent: int) -> Any:
    """Weights f32[bins extent] of the pixels along one axis, summed over each bin's samples; and how many samples."""
    count = samples or int(np.ceil(bin))
    weights = np.zeros((bins, extent), np.float32)
    for b in range(bins):
        for i in range(count):
            at = start + np.float32(b) * bin + (np.float32(i) + np.float32(0.5)) * bin / np.float32(count)
            if at < -1 or at > extent:
                continue
            at = max(at, np.float32(0))
            low = min(int(at), extent - 1)
            part = at - np.float32(low) if low < extent - 1 else np.float32(0)
            weights[b, low] += 1 - part
            if part:
                weights[b, low + 1] += part
    return weights, max(count, 0)


@roi_align.reference
def _(features: Any, rois: Any, *, size: Size, scale: float, samples: int, aligned: bool) -> Any:
    out = np.zeros((len(rois), features.shape[1], *size), np.float32)
    for r, (image, *box) in enumerate(rois):
        start, bin = _starts(np.asarray(box, np.float32), scale, aligned, size)
        if not np.isfinite(start).all() or not np.isfinite(bin).all():
            continue
        rows, tall = _axis(start[0], bin[0], size[0], samples, features.shape[2])
        columns, wide = _axis(start[1], bin[1], size[1], samples, features.shape[3])
        if tall and wide:
            out[r] = rows @ (features[int(image)] @ columns.T) / np.float32(tall * wide)
    return out


def _torch_points(t: Any, start: Any, bin: Any, bins: int, step: int, count: Any, extent: int) -> Any:
    """Sample `step` of each bin along one axis: low pixel, high pixel, weight of each, all [R bins]."""
    places = t.arange(bins, device=start.device, dtype=start.dtype)
    at = start[:, None] + places * bin[:, None] + ((step + 0.5) * bin / count.clamp(min=1))[:, None]
    inside = (at >= -1) & (at <= extent) & (step < count)[:, None]
    at = t.where(inside, at, t.zeros_like(at)).clamp(min=0)
    low = at.detach().floor().long().clamp(max=extent - 1)
    part = t.where(low < extent - 1, at - low, t.zeros_like(at))
    inside = inside.to(at.dtype)
    return low, (low + 1).clamp(max=extent - 1), (1 - part) * inside, part * inside


@roi_align.torch
def _(t: Any, features: Any, rois: Any, *, size: Size, scale: float, samples: int, aligned: bool) -> Any:
    image, corners = rois[:, 0].detach().long(), rois[:, 1:] * scale - (0.5 if aligned else 0.0)
    finite = corners.isfinite().all(1, keepdim=True)
    corners = t.where(finite, corners, t.zeros_like(corners))
    extent = corners[:, 2:] - corners[:, :2]
    extent = extent if aligned else extent.clamp(min=1)
    counts, points = [], []
    for axis, bins in ((1, size[0]), (0, size[1])):
        bin = extent[:, axis] / bins
        count = t.full_like(bin, samples) if samples else bin.detach().ceil().clamp(min=0)
        most = int(count.max()) if len(rois) else 0
        counts.append(count)
        points.append(
            [_torch_points(t, corners[:, axis], bin, bins, i, count, features.shape[2 + 1 - axis]) for i in range(most)]
        )
    out = features.new_zeros((len(rois), *size, features.shape[1]))
    for y in points[0]:
        for x in points[1]:
            for row, tall in (y[::2], y[1::2]):
                for column, wide in (x[::2], x[1::2]):
                    picked = features[image[:, None, None], :, row[:, :, None], column[:, None, :]]  # [R B D C]
                    out = out + picked * (tall[:, :, None] * wide[:, None, :])[..., None]
    share = (counts[0] * counts[1]).clamp(min=1)[:, None, None, None]
    return (t.where(finite[..., None, None], out, t.zeros_like(out)) / share).permute(0, 3, 1, 2)


@roi_align.onnx
def _(e: Any, features: Any, rois: Any, *, size: Size, scale: float, samples: int, aligned: bool) -> Any:
    image = e.Cast(e.Gather(rois, e.constant(np.int64(0)), axis=1), to=e.dtype("i64"))
    boxes = e.Slice(rois, e.sizes((1,)), e.sizes((5,)), e.sizes((1,)))
    return _onnx_align(e, features, boxes, image, size, scale, samples, aligned)


def _onnx_align(
    e: Any, features: Any, boxes: Any, image: Any, size: Size, scale: float, samples: int, aligned: bool
) -> Any:
    mode = "half_pixel" if aligned else "output_half_pixel"
    return e.RoiAlign(
        features, boxes, image, mode="avg", coordinate_transformation_mode=mode, output_height=size[0],
        output_width=size[1], sampling_ratio=samples, spatial_scale=float(scale),
    )  # fmt: skip


roi_align.native("roi_align")


@roi_align.flops
def _(features: Any, rois: Any, *, size: Size, scale: float, samples: int, aligned: bool, out: Any) -> int:
    return int(np.prod(out)) * 4 * (samples or 2) ** 2


def _rois(rng: np.random.Generator, count: int, images: int) -> Any:
    return np.concatenate([rng.integers(0, images, (count, 1)), random_boxes(rng, count)], 1).astype(np.float32)


@roi_align.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 9, 11), _rois(rng, 4, 2)), {"size": (3, 2), "scale": 0.125, "samples": 2}
    yield ((2, 3, 9, 11), _rois(rng, 4, 2)), {"size": (2, 2), "scale": 0.125}
    yield ((1, 2, 6, 5), _rois(rng, 3, 1)), {"size": (2, 3), "scale": 0.1, "samples": 1, "aligned": False}


@op("boxes<xyxy,net>[N K 4], i64[N], f[N C H W]* -> f[N K C B D]", FP32)
def roi_align_levels(
    boxes: Value, count: Value, *levels: Value, strides: tuple[float, ...], size: Size = (7, 7), samples: Natural = 0,
    aligned: bool = True, canonical: float = 224.0, finest: Natural = 2,
) -> Value:  # fmt: skip
    """`roi_align` where each RoI reads one level of a feature pyramid; levels come finest first, one stride each.

    A RoI of area a reads level floor(4 + log2(sqrt(a) / canonical)), the finest level given having number `finest`,
    clipped to the levels that there are (Lin et al. 2017, eq. 1). Rows of an image past its count are padding and yield
    zeros.
    """
    ...


@roi_align_levels.infer
def _(boxes: Type, count: Type, *levels: Type, strides: tuple[float, ...], size: Size, **_: Any) -> Type:
    if len(levels) != len(strides):
        raise ValueError(f"{len(levels)} levels have {len(strides)} strides")
    for i, level in enumerate(levels):
        if level.dims[1] != levels[0].dims[1]:
            raise ShapeMismatch(
                f"is {level}, expected {levels[0].dims[1]} channels as the first level has", about=2 + i
            )
    return _bins(levels[0], boxes, size)


def _steps(strides: tuple[float, ...], canonical: float, finest: int) -> list[float]:
    """The area from which on a RoI reads level 1, 2, ...: the rule without its logarithm."""
    return [(canonical * 2.0 ** (finest + i - 4)) ** 2 for i in range(1, len(strides))]


@roi_align_levels.reference
def _(
    boxes: Any, count: Any, *levels: Any,
    strides: tuple[float, ...], size: Size, canonical: float, finest: int, **how: Any,
) -> Any:  # fmt: skip
    n, k, _four = boxes.shape
    out = np.zeros((n, k, levels[0].shape[1], *size), np.float32)
    extent = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    level = np.searchsorted(
        np.asarray(_steps(strides, canonical, finest), np.float32), extent[..., 0] * extent[..., 1], side="right"
    )
    for i in range(n):
        for j in range(min(int(count[i]), k)):
            row = np.concatenate([[np.float32(i)], boxes[i, j]])[None]
            which = level[i, j]
            out[i, j] = roi_align.rules["reference"](levels[which], row, size=size, scale=1 / strides[which], **how)[0]
    return out


@roi_align_levels.torch
def _(
    t: Any, boxes: Any, count: Any, *levels: Any,
    strides: tuple[float, ...], size: Size, canonical: float, finest: int,
    align: Any = roi_align.rules["torch"], **how: Any,
) -> Any:  # fmt: skip
    n, k, _four = boxes.shape
    extent = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    steps = boxes.new_tensor(_steps(strides, canonical, finest))
    area = (extent[..., 0] * extent[..., 1]).detach().contiguous()
    level = t.searchsorted(steps, area, right=True)
    real = t.arange(k, device=boxes.device) < count[:, None]
    out = levels[0].new_zeros((n, k, levels[0].shape[1], *size))
    for i, stride in enumerate(strides):
        mine = real & (level == i)
        rows = t.cat([mine.nonzero()[:, :1].to(boxes.dtype), boxes[mine]], 1)
        out[mine] = align(t, levels[i], rows, size=size, scale=1 / stride, **how)
    return out


@roi_align_levels.onnx
def _(
    e: Any, boxes: Any, count: Any, *levels: Any,
    strides: tuple[float, ...], size: Size, canonical: float, finest: int, samples: int, aligned: bool,
) -> Any:  # fmt: skip
    """Every RoI on every level, then a choice: RoIAlign is the whole of what backends share."""
    n, k, _four = e.type(boxes).dims
    rows = e.Reshape(boxes, e.sizes((n * k, 4)))
    numbers = e.Range(e.scalar(0), e.size(n), e.scalar(1))
    image = e.Reshape(e.Expand(e.Unsqueeze(numbers, e.sizes((1,))), e.sizes((n, k))), e.sizes((n * k,)))
    low, high = e.Split(rows, axis=-1, num_outputs=2)
    extent = e.Relu(e.Sub(high, low))
    area = e.ReduceProd(extent, e.sizes((1,)), keepdims=0)

    def column(condition: Any) -> Any:
        return e.Reshape(condition, e.sizes((n * k, 1, 1, 1)))

    out = _onnx_align(e, levels[0], rows, image, size, 1 / strides[0], samples, aligned)
    for i, step in enumerate(_steps(strides, canonical, finest), start=1):
        here = _onnx_align(e, levels[i], rows, image, size, 1 / strides[i], samples, aligned)
        out = e.Where(column(e.GreaterOrEqual(area, e.constant(np.float32(step)))), here, out)
    places = e.Range(e.scalar(0), e.size(k), e.scalar(1))
    real = e.Reshape(e.Less(places, e.Unsqueeze(count, e.sizes((1,)))), e.sizes((n * k,)))
    out = e.Where(column(real), out, e.constant(np.float32(0)))
    channels = e.type(levels[0]).dims[1]
    return e.Reshape(out, e.sizes((n, k, channels, *size)))


roi_align_levels.native("roi_align_levels")


@roi_align_levels.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    maps = (2, 3, 12, 16), (2, 3, 6, 8), (2, 3, 3, 4)
    boxes = random_boxes(rng, 2, 5)
    boxes[:, 0, 2:] = boxes[:, 0, :2] + 32  # exactly the area at which a level begins
    attributes = {"strides": (8, 16, 32), "size": (2, 3), "canonical": 64.0, "finest": 3}
    yield (boxes, np.asarray([5, 2]), *maps), {**attributes, "samples": 2}
    yield (boxes, np.asarray([0, 9]), *maps), attributes
    yield (boxes, np.asarray([3, 0]), maps[0]), {"strides": (8,), "size": (2, 2), "aligned": False}


@op("f[N C H W], f[R 5] -> f[R C B D]", FP32)
def roi_pool(features: Value, rois: Value, *, size: Size = (7, 7), scale: float = 1.0) -> Value:
    """Maximum over the pixels of each bin (Girshick 2015); RoI rows as in `roi_align`.

    Corners are rounded to pixels (halves away from 0), the last pixel is inside, neighbouring bins share border pixels.
    A bin without pixels yields 0, as does a RoI without finite coordinates. NaN never is the maximum.
    """
    ...


roi_pool.infer(lambda features, rois, *, size, scale: _bins(features, rois, size))


def _spans(low: Any, high: Any, bins: int, extent: int) -> list[slice]:
    step = np.float32(max(high - low + 1, 1)) / np.float32(bins)
    edges = np.arange(bins + 1, dtype=np.float32) * step
    begin, end = (np.clip(f(edges) + low, 0, extent).astype(int) for f in (np.floor, np.ceil))
    return [slice(begin[b], end[b + 1]) for b in range(bins)]


def _corners(box: Any, scale: float) -> Any:
    placed = np.asarray(box, np.float32) * np.float32(scale)
    whole = np.trunc(placed)
    return whole + np.sign(placed) * (np.abs(placed - whole) >= 0.5)


def _pool_bins(features: Any, box: Any, size: Size, scale: float) -> Iterator[tuple[int, int, Any]]:
    """(row, column, pixels of the image's planes) of each bin that has pixels."""
    x1, y1, x2, y2 = _corners(box, scale)
    for b, rows in enumerate(_spans(y1, y2, size[0], features.shape[1])):
        for d, columns in enumerate(_spans(x1, x2, size[1], features.shape[2])):
            if rows.start < rows.stop and columns.start < columns.stop:
                yield b, d, features[:, rows, columns]


@roi_pool.reference
def _(features: Any, rois: Any, *, size: Size, scale: float) -> Any:
    out = np.zeros((len(rois), features.shape[1], *size), np.float32)
    for r, (image, *box) in enumerate(rois):
        if np.isfinite(box).all():
            for b, d, inside in _pool_bins(features[int(image)], box, size, scale):
                out[r, :, b, d] = np.where(np.isnan(inside), -np.inf, inside).max((1, 2))
    return out


@roi_pool.torch
def _(t: Any, features: Any, rois: Any, *, size: Size, scale: float) -> Any:
    rows = []
    for image, *box in rois.tolist():
        row = [features.new_zeros(features.shape[1])] * (size[0] * size[1])
        if np.isfinite(box).all():
            for b, d, inside in _pool_bins(features[int(image)], box, size, scale):
                row[b * size[1] + d] = inside.nan_to_num(nan=-float("inf"), posinf=None, neginf=-float("inf")).amax(
                    (1, 2)
                )
        rows.append(t.stack(row, 1))
    empty = features.new_zeros((0, features.shape[1], *size))
    return t.stack(rows).reshape(-1, features.shape[1], *size) if rows else empty


@roi_pool.onnx
def _(e: Any, features: Any, rois: Any, *, size: Size, scale: float) -> Any:
    return e.MaxRoiPool(features, rois, pooled_shape=list(size), spatial_scale=float(scale))


roi_pool.native("roi_pool")


@roi_pool.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 9, 11), _rois(rng, 4, 2)), {"size": (3, 2), "scale": 0.125}
    yield ((1, 2, 6, 5), np.asarray([[0, 2, 2, 1, 1], [0, 9, 9, 12, 12]], np.float32)), {"size": (2, 2)}
