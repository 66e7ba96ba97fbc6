"""Detectors that look at whole images do not see padding: an image gives the same boxes on any canvas, in any batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphdet import compiler, ops, runtime, zoo
from graphdet.blocks.conv import conv
from graphdet.ir import Value, trace
from graphdet.records import Array
from tests.compiler import tiny

SIZES = ((64, 96), (128, 64), (32, 160))  # height, width: whole cells, so that no cell holds image and padding
Run = Callable[[dict[str, Array]], dict[str, Array]]


def patches(x: Value) -> list[Value]:
    """A backbone in which no cell looks beyond its own pixels: padding could enter by attention alone."""
    levels = []
    for stride, width in ((4, 256), (8, 512), (16, 1024), (32, 2048)):
        levels.append(conv(f"patch{stride}", ops.max_pool(x, size=stride, stride=stride), width, size=1))
    return levels


def narrow(features: list[Value], width: int) -> list[Value]:
    """A neck of four levels that is as short-sighted (the detector's own has group norms, over padding too)."""
    return [conv(f"convs.{i}", c, width, size=1) for i, c in enumerate([*features, features[-1]])]


WHOLE: dict[str, dict[str, object]] = {
    "deformable_detr_twostage_refine_r50": {"body": patches, "neck": narrow, "count": 60},
    "detr_r50": {"body": patches},
}


def runner(name: str, target: str) -> Run:
    """The detector over patches of the image, as a PyTorch module or as an engine of any size and batch."""
    variant = zoo.get(name).with_arguments(**WHOLE[name])
    weights = tiny.weights(variant)
    if target != "module":
        artefact = compiler.compile(variant, weights, target, batch="dynamic", size="dynamic", certified=False)
        engine = runtime.Engine(artefact)
        return lambda inputs: engine.run(inputs["pixels"], inputs["size"], inputs["geometry"])
    torch = pytest.importorskip("torch")
    from graphdet.compiler.backends.torch import to_module

    module = to_module(trace(variant, "infer"), weights).eval()

    def run(inputs: dict[str, Array]) -> dict[str, Array]:
        with torch.no_grad():
            found: dict[str, Any] = module(**{k: torch.from_numpy(v) for k, v in inputs.items()})
        return {k: v.numpy() for k, v in found.items()}

    return run


def placed(size: tuple[int, int], canvas: tuple[int, int]) -> dict[str, Array]:
    """A picture of a size on a canvas; the padding is loud, so that it would be heard."""
    h, w = size
    pixels = np.full((1, 3, *canvas), 9, np.float32)
    pixels[0, :, :h, :w] = np.random.default_rng(h).normal(0, 1, (3, h, w))
    return {
        "pixels": pixels,
        "size": np.asarray([[h, w]], np.float32),
        "geometry": np.asarray([[1, 1, 0, 0]], np.float32),
    }


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("target", ["module", "onnxruntime", "onnx", "openvino"])
def test_images_of_several_sizes_give_the_same_together_and_alone(name: str, target: str) -> None:
    run = runner(name, target)
    parts = [placed(size, (128, 160)) for size in SIZES]
    batch = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    together = run(batch)
    heard = run({**batch, "size": np.full((len(SIZES), 2), (128, 160), np.float32)})
    assert not np.allclose(together["scores"], heard["scores"], rtol=1e-3), "padding would not be heard"
    for i, size in enumerate(SIZES):
        alone = run(placed(size, size))
        np.testing.assert_array_equal(together["count"][i], alone["count"][0])
        np.testing.assert_allclose(together["scores"][i], alone["scores"][0], rtol=1e-4)
        for axis in range(4):  # rows of nearly equal score may change places
            np.testing.assert_allclose(
                np.sort(together["boxes"][i, :, axis]), np.sort(alone["boxes"][0, :, axis]), atol=1e-4 * max(size)
            )
