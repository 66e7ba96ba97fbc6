"""Native kernels and the plan executor. Contracts (shapes, ties, NaN, empty input) are the headers in `csrc`.

Arrays of another element type or shape raise ValueError. Strided arrays are copied, images and bitmaps are read as they
lie. `make stubs` writes this file.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdet.records import Preprocess
from graphdet.runtime.adapters import Segment

class Engine:
    """The plan executor. `graphdet.runtime.Engine` is its friendly face."""

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
        lean: bool = False,
    ) -> None: ...
    def close(self) -> None:
        """Cancel submitted work that waits, and wait for what runs."""

    def detect(
        self,
        images: list[tuple[NDArray[np.uint8] | NDArray[np.bool_], bool]],
        proposals: list[NDArray[np.float32]] | None,
        thresholds: Mapping[str, float],
        first: int = 0,
    ) -> list[
        tuple[
            NDArray[np.float32],
            NDArray[np.float32],
            NDArray[np.int64],
            tuple[int, int],
            tuple[NDArray[np.float32], NDArray[np.float32]] | None,
        ]
    ]:
        """Detect objects in images, the first of which has this number in messages."""

    def panoptic(
        self, images: list[tuple[NDArray[np.uint8] | NDArray[np.bool_], bool]]
    ) -> list[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]]:
        """Give the pixels of images to segments."""

    def run(
        self,
        pixels: NDArray[np.float32],
        size: NDArray[np.float32],
        geometry: NDArray[np.float32],
        inputs: Mapping[str, NDArray[Any]],
        thresholds: Mapping[str, float],
        watch: Callable[[str, NDArray[Any]], Any] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Run the plan on one prepared batch."""

    def submit(
        self,
        images: list[tuple[NDArray[np.uint8] | NDArray[np.bool_], bool]],
        proposals: list[NDArray[np.float32]] | None,
        thresholds: Mapping[str, float],
        future: Future[Any],
        convert: Callable[
            [
                list[
                    tuple[
                        NDArray[np.float32],
                        NDArray[np.float32],
                        NDArray[np.int64],
                        tuple[int, int],
                        tuple[NDArray[np.float32], NDArray[np.float32]] | None,
                    ]
                ]
            ],
            Any,
        ],
    ) -> None:
        """Queue a detection that settles a concurrent.futures.Future."""

def _check_artefact(path: str, /) -> str:
    """What the C++ engine says of a .gdet file: 'GD403: ...', or nothing when every byte is right."""

def carafe(
    x: NDArray[np.float32], kernels: NDArray[np.float32], /, *, size: int = 5, groups: int = 1, scale: int = 2
) -> NDArray[np.float32]:
    """Upsampling where each output pixel weighs a window of the input itself."""

def carafe_backward(
    gradient: NDArray[np.float32],
    x: NDArray[np.float32],
    kernels: NDArray[np.float32],
    /,
    *,
    size: int = 5,
    groups: int = 1,
    scale: int = 2,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gradients of carafe: of x and of kernels."""

def clip_boxes(boxes: NDArray[np.float32], size: NDArray[np.float32], /) -> NDArray[np.float32]:
    """Corners moved into [0, w] x [0, h] of their image."""

def concat(*args: NDArray[Any], axis: int) -> NDArray[Any]:
    """Arrays joined along one axis."""

def corner_pool(x: NDArray[np.float32], /, *, side: str) -> NDArray[np.float32]:
    """The maximum of each pixel and all those that its side of a corner looks at."""

def corner_pool_backward(gradient: NDArray[np.float32], x: NDArray[np.float32], /, *, side: str) -> NDArray[np.float32]:
    """Gradient of corner_pool."""

def cut_padding(
    boxes: NDArray[np.float32], labels: NDArray[np.int64], count: NDArray[np.int64], /, *, steps: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Padded boxes and labels in as few rows as hold those that exist."""

def decode_deltas(
    anchors: NDArray[np.float32],
    deltas: NDArray[np.float32],
    /,
    *,
    means: Sequence[float],
    stds: Sequence[float],
    max_ratio: float = 0.016,
) -> NDArray[np.float32]:
    """Boxes from centre and size deltas against anchors."""

def decode_distances(points: NDArray[np.float32], distances: NDArray[np.float32], /) -> NDArray[np.float32]:
    """Boxes from points and distances to their sides."""

def decode_points(points: NDArray[np.float32], raw: NDArray[np.float32], /) -> NDArray[np.float32]:
    """Boxes from raw centre and log size at grid points."""

def deform_attention(
    value: NDArray[np.float32],
    locations: NDArray[np.float32],
    weights: NDArray[np.float32],
    /,
    *args: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Per query and head, a weighted sum of values sampled from the levels' maps."""

def deform_attention_backward(
    gradient: NDArray[np.float32],
    value: NDArray[np.float32],
    locations: NDArray[np.float32],
    weights: NDArray[np.float32],
    /,
    *args: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Gradients of deform_attention: of value, locations and weights."""

def deform_conv2d(
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    offset: NDArray[np.float32],
    mask: NDArray[np.float32] | None = None,
    bias: NDArray[np.float32] | None = None,
    /,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    offset_groups: int = 1,
) -> NDArray[np.float32]:
    """Convolution with moved, weighed kernel points."""

def deform_conv2d_backward(
    gradient: NDArray[np.float32],
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    offset: NDArray[np.float32],
    mask: NDArray[np.float32] | None = None,
    /,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    offset_groups: int = 1,
) -> Any:
    """Gradients of deform_conv2d: of x, weight, offset and, where there is one, mask."""

def fast_nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    score_threshold: float | np.floating[Any] | NDArray[np.float32],
    iou_threshold: float | np.floating[Any] | NDArray[np.float32],
    /,
    *,
    keep: int = 0,
    agnostic: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Fast NMS, image by image."""

def fitted(
    shape: tuple[int, int], rule: Preprocess, bounds: tuple[tuple[int, int], tuple[int, int]] | None, /
) -> tuple[int, int]:
    """(height, width) to which an image is scaled."""

def focal_loss(
    logits: NDArray[np.float32], labels: NDArray[np.int64], /, *, alpha: float = 0.25, gamma: float = 2.0
) -> NDArray[np.float32]:
    """Sigmoid focal loss of each row, summed over classes."""

def focal_loss_backward(
    gradient: NDArray[np.float32],
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    /,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> NDArray[np.float32]:
    """Gradient of focal_loss with respect to its logits."""

def fuse_segments(
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    things: NDArray[np.int64],
    logits: NDArray[np.float32],
    /,
    *,
    span: Sequence[float],
    height: int,
    width: int,
    score: float = 0.800000011920929,
    overlap: float = 0.8,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """The map of segments' ids, i32[height width], 0 for none; by id, from 1, labels and kinds (1: thing)."""

def gather(x: NDArray[np.float32], index: NDArray[np.int64], /) -> NDArray[np.float32]:
    """Entries of a row, picked by index, image by image."""

def gather_rows(x: NDArray[np.float32], index: NDArray[np.int64], /) -> NDArray[np.float32]:
    """Rows of a table, picked by index, image by image."""

def masked_conv2d(
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    mask: NDArray[np.float32],
    bias: NDArray[np.float32] | None = None,
    /,
    *,
    stride: int = 1,
    padding: int = 0,
) -> NDArray[np.float32]:
    """A convolution where the mask exceeds 0, and 0 elsewhere."""

def matrix_nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    score_threshold: float | np.floating[Any] | NDArray[np.float32],
    /,
    *,
    keep: int = 0,
    agnostic: bool = False,
    decay: str = "gaussian",
    sigma: float = 2.0,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Matrix NMS, image by image."""

def mul(a: NDArray[np.float32], b: NDArray[np.float32], /) -> NDArray[np.float32]:
    """Product with NumPy broadcasting."""

def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    score_threshold: float | np.floating[Any] | NDArray[np.float32],
    iou_threshold: float | np.floating[Any] | NDArray[np.float32],
    /,
    *,
    keep: int,
    agnostic: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Greedy non-maximum suppression, image by image."""

def pairwise_iou(
    a: NDArray[np.float32], b: NDArray[np.float32], /, *, generalised: bool = False
) -> NDArray[np.float32]:
    """IoU, or generalised IoU, of each box of a with each of b, image by image."""

def paste_masks(
    masks: NDArray[np.float32],
    boxes: NDArray[np.float32],
    count: NDArray[np.int64],
    /,
    *,
    height: int,
    width: int,
    threshold: float = 0.5,
) -> NDArray[np.uint8] | NDArray[np.bool_]:
    """Bitmaps u8[N K height width] of masks in boxes."""

def paste_runs(
    masks: NDArray[np.float32],
    boxes: NDArray[np.float32],
    count: NDArray[np.int64],
    /,
    *,
    height: int,
    width: int,
    threshold: float = 0.5,
) -> list[list[bytes]]:
    """COCO's run-length texts, K for each image, of what paste_masks would paint."""

def prepare(
    images: list[tuple[NDArray[np.uint8] | NDArray[np.bool_], bool]],
    rule: Preprocess,
    bounds: tuple[tuple[int, int], tuple[int, int]] | None,
    bf16: bool = False,
    /,
) -> tuple[NDArray[np.float32] | NDArray[np.uint16], NDArray[np.float32], NDArray[np.float32]]:
    """Images as one batch: (pixels [N 3 H W], f32 or the bits of bf16, size f32[N 2], geometry f32[N 4])."""

def preprocess(
    image: NDArray[np.uint8] | NDArray[np.bool_],
    out: NDArray[np.float32] | NDArray[np.uint16],
    /,
    *,
    height: int,
    width: int,
    mean: Sequence[float],
    std: Sequence[float],
    reverse: bool = False,
    pad: float = 0.0,
) -> None:
    """Resize, normalise and pad an image of bytes into out [3 H W], f32 or the bits of bf16."""

def refuse_external_data(model: bytes, /) -> None:
    """Raise ValueError for an ONNX model whose tensors lie in other files, or for what is no ONNX model."""

def rle_area(counts: Sequence[str], /, *, height: int, width: int) -> NDArray[np.int64]:
    """How many pixels each mask has."""

def rle_decode(counts: Sequence[str], /, *, height: int, width: int) -> NDArray[np.uint8] | NDArray[np.bool_]:
    """Masks u8[K H W] of run-length texts."""

def rle_encode(masks: NDArray[np.uint8] | NDArray[np.bool_], /) -> list[bytes]:
    """COCO's run-length text of each mask u8[K H W]."""

def rle_iou(
    a: Sequence[str], b: Sequence[str], /, *, height: int, width: int, crowd: Sequence[bool] = []
) -> NDArray[np.float64]:
    """f64[A B]: overlap of each mask of a with each of b; over a's area alone where b is a crowd."""

def roi_align(
    features: NDArray[np.float32],
    rois: NDArray[np.float32],
    /,
    *,
    size: Sequence[int],
    scale: float,
    samples: int = 0,
    aligned: bool = True,
) -> NDArray[np.float32]:
    """Average of bilinear samples in each bin of each RoI."""

def roi_align_backward(
    gradient: NDArray[np.float32],
    rois: NDArray[np.float32],
    /,
    *,
    map: Sequence[int],
    size: Sequence[int],
    scale: float,
    samples: int = 0,
    aligned: bool = True,
) -> NDArray[np.float32]:
    """Gradient of roi_align with respect to its features; map is (images, height, width) of those."""

def roi_align_levels(
    boxes: NDArray[np.float32],
    count: NDArray[np.int64],
    /,
    *args: NDArray[np.float32] | None,
    strides: Sequence[float],
    size: Sequence[int],
    samples: int = 0,
    aligned: bool = True,
    canonical: float = 224.0,
    finest: int = 2,
) -> NDArray[np.float32]:
    """roi_align where each RoI reads one level of a pyramid."""

def roi_pool(
    features: NDArray[np.float32], rois: NDArray[np.float32], /, *, size: Sequence[int], scale: float
) -> NDArray[np.float32]:
    """Maximum over the pixels of each bin of each RoI."""

def roi_pool_backward(
    gradient: NDArray[np.float32],
    features: NDArray[np.float32],
    rois: NDArray[np.float32],
    /,
    *,
    size: Sequence[int],
    scale: float,
) -> NDArray[np.float32]:
    """Gradient of roi_pool with respect to its features."""

def select_top(
    scores: NDArray[np.float32],
    threshold: float | np.floating[Any] | NDArray[np.float32],
    /,
    *,
    k: int,
    activation: str = "",
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Top-k of the flattened (row, class) entries of each image whose activated score exceeds the threshold."""

def set_threads(count: int, /) -> None:
    """Set how many threads a kernel may use; 0 restores the number of processors."""

def sigmoid(x: NDArray[np.float32], /) -> NDArray[np.float32]:
    """1 / (1 + exp(-x))."""

def soft_nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    score_threshold: float | np.floating[Any] | NDArray[np.float32],
    iou_threshold: float | np.floating[Any] | NDArray[np.float32],
    /,
    *,
    keep: int = 0,
    agnostic: bool = False,
    decay: str = "linear",
    sigma: float = 0.5,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Soft-NMS, image by image."""

def threads() -> int:
    """How many threads a kernel may use."""

def to_image(boxes: NDArray[np.float32], geometry: NDArray[np.float32], /) -> NDArray[np.float32]:
    """Boxes in original pixels: (xyxy - offset) / scale."""
