"""Weights of real and synthetic files under a detector's names; numbers equal those of the file's own runtime."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graphdet import ops, zoo
from graphdet.errors import BadWeights
from graphdet.importers import Weights, write_safetensors
from graphdet.importers.detector import import_weights, variant_of
from graphdet.importers.slots import conv_slots
from graphdet.ir import parameter, scope, share, tensor, trace, tracing
from graphdet.ir.graph import Value
from graphdet.ir.initial import initial_values
from graphdet.ir.trace import graph_input
from graphdet.records import Array

NANO = "data/yolox-nano-0.1.1rc0-onnx"
SCENES = zoo.get("yolox_scenes")


def shared_convolution() -> list[str]:
    """Weight names of the slots of a detector that uses one convolution twice and another once."""
    with tracing("two") as opened:
        x = graph_input("pixels", tensor("f32", 1, 2, 8, 8))

        def body(y: Value) -> Value:
            with scope("a"):
                return ops.conv2d(y, parameter("weight", 2, 2, 1, 1), parameter("bias", 2))

        twice = share(body)
        y = twice(twice(x))
        with scope("b"):
            y = ops.conv2d(y, parameter("weight", 2, 2, 1, 1), None)
    graph = opened.graph({"y": y})
    slots = conv_slots(graph)
    assert [s.bias for s in slots] == ["a.bias", "a.bias", None]
    assert all(s.norm is None for s in slots)
    ranked = conv_slots(graph, lambda name: (not name.startswith("b."),))
    return [s.weight for s in [*slots, *ranked]]


@pytest.mark.data
def test_slots_of_yolox_follow_the_published_order(shared: Callable[[str], Path]) -> None:
    published = json.loads(shared(f"{NANO}/conv_order_mmdet_names.json").read_text())
    variant = zoo.get("yolox_nano")
    slots = conv_slots(trace(variant), variant.export_order)
    for slot, name in zip(slots, published, strict=True):
        assert slot.weight in (f"{name}.conv.weight", f"{name}.weight")  # a block's convolution, or a bare one
    assert all((s.norm is None) == (s.bias is not None) for s in slots)


@pytest.mark.data
def test_the_published_nano_says_the_same_here_as_in_onnx_runtime(shared: Callable[[str], Path]) -> None:
    import onnxruntime
    import torch

    from graphdet.compiler.backends.torch import to_module

    file, variant = shared(f"{NANO}/yolox_nano.onnx"), zoo.get("yolox_nano")
    weights = import_weights(file, variant)
    graph = trace(variant)
    assert weights.tensors.keys() == graph.params.keys()
    assert sum(a.ndim == 4 for a in weights.tensors.values()) == 113
    assert len(weights.classes) == 80

    pixels = np.random.default_rng(0).uniform(0, 255, (1, 3, 416, 416)).astype(np.float32)
    taps = {
        f"{kind}{i}": graph.taps[f"bbox_head.{k}.{i}"] for k, kind in enumerate(("cls", "reg", "obj")) for i in range(3)
    }
    module = to_module(replace(graph, outputs=taps), weights.tensors).eval()
    given = {"size": torch.tensor([[416.0, 416.0]]), "geometry": torch.tensor([[1.0, 1.0, 0.0, 0.0]])}
    accepted = {n.target for n in module.graph.nodes if n.op == "placeholder"}
    with torch.no_grad():
        found = module(pixels=torch.from_numpy(pixels), **{k: v for k, v in given.items() if k in accepted})
    expected = onnxruntime.InferenceSession(file).run(None, {"images": pixels})[0]
    np.testing.assert_allclose(_raw({k: v.numpy() for k, v in found.items()}), expected, atol=1e-4)


def _raw(maps: dict[str, Array]) -> Array:
    """Maps of three levels as the authors' rows: box code 4, objectness, class scores."""
    rows = {k: v.reshape(*v.shape[:2], -1).transpose(0, 2, 1) for k, v in maps.items()}
    kinds = [np.concatenate([rows[f"{kind}{i}"] for i in range(3)], 1) for kind in ("reg", "obj", "cls")]
    return np.concatenate([kinds[0], *(1 / (1 + np.exp(-logits)) for logits in kinds[1:])], 2)


@pytest.mark.data
def test_the_wrong_variant_is_refused(shared: Callable[[str], Path]) -> None:
    with pytest.raises(BadWeights, match="the detector wants") as caught:
        import_weights(shared(f"{NANO}/yolox_nano.onnx"), zoo.get("yolox_tiny"))
    assert "113 convolutions, the detector 83" in caught.value.help


def test_a_shared_convolution_stands_once_for_every_use() -> None:
    assert shared_convolution() == ["a.weight", "a.weight", "b.weight", "b.weight", "a.weight", "a.weight"]


def _file(folder: Path, prefix: str = "", drop: str = "") -> Path:
    values = {f"{prefix}{n}": a for n, a in initial_values(trace(SCENES)).items() if n != drop}
    write_safetensors(folder / "w.safetensors", values, {"epoch": "7"})
    return folder / "w.safetensors"


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_wrapper_is_taken_off(prefix: str, tmp_path: Path) -> None:
    weights = import_weights(_file(tmp_path, prefix), SCENES)
    assert weights.tensors.keys() == trace(SCENES).params.keys()
    assert weights.meta["num_classes"] == "5"
    assert weights.meta["epoch"] == "7"
    assert weights.meta["imported_source"] == "w.safetensors"


def test_a_missing_parameter_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"backbone\.stem\.conv\.bn\.bias"):
        import_weights(_file(tmp_path, drop="backbone.stem.conv.bn.bias"), SCENES)


def test_the_variant_follows_the_weights() -> None:
    plain = variant_of(SCENES, Weights({}))
    assert plain.row == SCENES.row
    three = variant_of(SCENES, Weights({}, {"num_classes": "3"}))
    assert three.row.arguments["num_classes"] == 3
    assert three.row.classes == ("class 0", "class 1", "class 2")
    named = variant_of(SCENES, Weights({}, {"num_classes": "2", "classes": '["a", "b"]'}))
    assert named.row.classes == ("a", "b")


@pytest.mark.parametrize("text", ["", "0", "-1", "2.5", "1000000000", "x"])
def test_a_damaged_number_of_classes_is_refused(text: str) -> None:
    with pytest.raises(BadWeights, match="a number is expected"):
        variant_of(SCENES, Weights({}, {"num_classes": text}))


def test_weights_of_another_detector_are_refused() -> None:
    with pytest.raises(BadWeights, match="not of 'yolox_scenes'"):
        variant_of(SCENES, Weights({}, {"detector": "yolox_s"}))
