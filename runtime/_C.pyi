"""Native kernels. Contracts (shapes, ties, NaN, empty input) are the headers `csrc/ops/<op>/<op>.h`.

Arrays are float32, labels, index and count int64; other dtypes and shapes raise ValueError. Strided arrays are copied.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float32]
_Ints: TypeAlias = NDArray[np.int64]
_Scalar: TypeAlias = float | np.floating[Any] | _Floats

def select_top(
    scores: _Floats, threshold: _Scalar, /, *, k: int, activation: str = ""
) -> tuple[_Floats, _Ints, _Ints]: ...
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
