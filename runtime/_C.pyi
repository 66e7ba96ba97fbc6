"""Native kernels. Contracts (shapes, ties, NaN, empty input) are the headers `csrc/ops/<op>/<op>.h`.

Arrays are float32, labels, index and count int64; other dtypes and shapes raise ValueError. Strided arrays are copied.
Images and bitmaps are uint8 (or bool) and are read as they lie.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graphdet.records import Preprocess
from graphdet.runtime.adapters import Segment

_Floats: TypeAlias = NDArray[np.float32]
_Ints: TypeAlias = NDArray[np.int64]
_Bytes: TypeAlias = NDArray[np.uint8] | NDArray[np.bool_]
_Detections: TypeAlias = tuple[_Floats, _Floats, _Ints, _Ints]
_Scalar: TypeAlias = float | np.floating[Any] | _Floats

def select_top(
    scores: _Floats, threshold: _Scalar, /, *, k: int, activation: str = ""
) -> tuple[_Floats, _Ints, _Ints]: ...
def gather(x: _Floats, index: _Ints, /) -> _Floats: ...
def gather_rows(x: _Floats, index: _Ints, /) -> _Floats: ...
def decode_deltas(
    anchors: _Floats,
    deltas: _Floats,
    /,
    *,
    means: Sequence[float],
    stds: Sequence[float],
    max_ratio: float = 0.016,
) -> _Floats: ...
def decode_distances(points: _Floats, distances: _Floats, /) -> _Floats: ...
def decode_points(points: _Floats, raw: _Floats, /) -> _Floats: ...
def clip_boxes(boxes: _Floats, size: _Floats, /) -> _Floats: ...
def to_image(boxes: _Floats, geometry: _Floats, /) -> _Floats: ...
def concat(*xs: NDArray[Any], axis: int) -> NDArray[Any]: ...
def sigmoid(x: _Floats, /) -> _Floats: ...
def mul(a: _Floats, b: _Floats, /) -> _Floats: ...
def nms(
    boxes: _Floats,
    scores: _Floats,
    labels: _Ints,
    score_threshold: _Scalar,
    iou_threshold: _Scalar,
    /,
    *,
    keep: int,
    agnostic: bool,
) -> tuple[_Floats, _Floats, _Ints, _Ints]: ...
def _check_artefact(path: str, /) -> str: ...
def soft_nms(
    boxes: _Floats,
    scores: _Floats,
    labels: _Ints,
    score_threshold: _Scalar,
    iou_threshold: _Scalar,
    /,
    *,
    keep: int = 0,
    agnostic: bool = False,
    decay: str = "linear",
    sigma: float = 0.5,
) -> _Detections: ...
def matrix_nms(
    boxes: _Floats,
    scores: _Floats,
    labels: _Ints,
    score_threshold: _Scalar,
    /,
    *,
    keep: int = 0,
    agnostic: bool = False,
    decay: str = "gaussian",
    sigma: float = 2.0,
) -> _Detections: ...
def fast_nms(
    boxes: _Floats,
    scores: _Floats,
    labels: _Ints,
    score_threshold: _Scalar,
    iou_threshold: _Scalar,
    /,
    *,
    keep: int = 0,
    agnostic: bool = False,
) -> _Detections: ...
def deform_conv2d(
    x: _Floats,
    weight: _Floats,
    offset: _Floats,
    mask: _Floats | None = None,
    bias: _Floats | None = None,
    /,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    offset_groups: int = 1,
) -> _Floats: ...
def deform_conv2d_backward(
    gradient: _Floats,
    x: _Floats,
    weight: _Floats,
    offset: _Floats,
    mask: _Floats | None = None,
    /,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    offset_groups: int = 1,
) -> tuple[_Floats, ...]: ...
def deform_attention(value: _Floats, locations: _Floats, weights: _Floats, /, *levels: _Floats) -> _Floats: ...
def deform_attention_backward(
    gradient: _Floats, value: _Floats, locations: _Floats, weights: _Floats, /, *levels: _Floats
) -> tuple[_Floats, _Floats, _Floats]: ...
def carafe(x: _Floats, kernels: _Floats, /, *, size: int = 5, groups: int = 1, scale: int = 2) -> _Floats: ...
def carafe_backward(
    gradient: _Floats, x: _Floats, kernels: _Floats, /, *, size: int = 5, groups: int = 1, scale: int = 2
) -> tuple[_Floats, _Floats]: ...
def corner_pool(x: _Floats, /, *, side: str) -> _Floats: ...
def corner_pool_backward(gradient: _Floats, x: _Floats, /, *, side: str) -> _Floats: ...
def masked_conv2d(
    x: _Floats, weight: _Floats, mask: _Floats, bias: _Floats | None = None, /, *, stride: int = 1, padding: int = 0
) -> _Floats: ...
def focal_loss(logits: _Floats, labels: _Ints, /, *, alpha: float = 0.25, gamma: float = 2.0) -> _Floats: ...
def focal_loss_backward(
    gradient: _Floats, logits: _Floats, labels: _Ints, /, *, alpha: float = 0.25, gamma: float = 2.0
) -> _Floats: ...
def pairwise_iou(a: _Floats, b: _Floats, /, *, generalised: bool = False) -> _Floats: ...
def roi_align(
    features: _Floats, rois: _Floats, /, *, size: Sequence[int], scale: float, samples: int = 0, aligned: bool = True
) -> _Floats: ...
def roi_align_backward(
    gradient: _Floats,
    rois: _Floats,
    /,
    *,
    map: Sequence[int],
    size: Sequence[int],
    scale: float,
    samples: int = 0,
    aligned: bool = True,
) -> _Floats: ...
def roi_align_levels(
    boxes: _Floats,
    count: _Ints,
    /,
    *levels: _Floats | None,
    strides: Sequence[float],
    size: Sequence[int],
    samples: int = 0,
    aligned: bool = True,
    canonical: float = 224.0,
    finest: int = 2,
) -> _Floats: ...
def roi_pool(features: _Floats, rois: _Floats, /, *, size: Sequence[int], scale: float) -> _Floats: ...
def roi_pool_backward(
    gradient: _Floats, features: _Floats, rois: _Floats, /, *, size: Sequence[int], scale: float
) -> _Floats: ...
def paste_masks(
    masks: _Floats, boxes: _Floats, count: _Ints, /, *, height: int, width: int, threshold: float = 0.5
) -> NDArray[np.uint8]: ...
def paste_runs(
    masks: _Floats, boxes: _Floats, count: _Ints, /, *, height: int, width: int, threshold: float = 0.5
) -> list[list[bytes]]: ...
def rle_encode(masks: _Bytes, /) -> list[bytes]: ...
def rle_decode(counts: Sequence[bytes], /, *, height: int, width: int) -> NDArray[np.uint8]: ...
def rle_area(counts: Sequence[bytes], /, *, height: int, width: int) -> _Ints: ...
def rle_iou(
    a: Sequence[bytes], b: Sequence[bytes], /, *, height: int, width: int, crowd: Sequence[bool] = ()
) -> NDArray[np.float64]: ...
def preprocess(
    image: NDArray[np.uint8],
    out: _Floats,
    /,
    *,
    height: int,
    width: int,
    mean: Sequence[float],
    std: Sequence[float],
    reverse: bool = False,
    pad: float = 0.0,
) -> None: ...
def prepare(
    images: Sequence[tuple[NDArray[np.uint8], bool]], rule: Preprocess, size: tuple[int, int] | None, /
) -> tuple[_Floats, _Floats, _Floats]: ...
def fitted(shape: tuple[int, int], rule: Preprocess, size: tuple[int, int] | None, /) -> tuple[int, int]: ...
def refuse_external_data(model: bytes, /) -> None: ...

class Engine:
    def __init__(
        self,
        header: str,
        constants: bytes,
        open_segment: Callable[[str, int | None], Segment],
        *,
        threads: int = 0,
        chunk: int = 8,
        workers: int = 1,
        queue: int = 32,
    ) -> None: ...
    def detect(
        self, images: list[tuple[NDArray[np.uint8], bool]], thresholds: dict[str, float]
    ) -> list[tuple[_Floats, _Floats, _Ints, tuple[int, int]]]: ...
    def run(
        self,
        pixels: _Floats,
        size: _Floats,
        geometry: _Floats,
        thresholds: dict[str, float],
        watch: Callable[[str, NDArray[Any]], None] | None = None,
    ) -> dict[str, NDArray[Any]]: ...
    def submit(
        self,
        images: list[tuple[NDArray[np.uint8], bool]],
        thresholds: dict[str, float],
        future: Future[Any],
        convert: Callable[[list[tuple[_Floats, _Floats, _Ints, tuple[int, int]]]], Any],
    ) -> None: ...
    def close(self) -> None: ...

def threads() -> int: ...
def set_threads(count: int, /) -> None: ...
