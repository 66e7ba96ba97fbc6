"""Convolutions of an ONNX file are handed out by position; a folded norm becomes one that does nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from graphdet.errors import BadWeights
from graphdet.importers import read_weights
from graphdet.importers.onnx_order import ConvSlot, ConvWeights, NormSlot, assign_convs, read_onnx_convs

Tensors = dict[str, NDArray[Any]]


def slot(prefix: str, *, bias: bool = False, norm: bool = True, eps: float = 1e-3) -> ConvSlot:
    bn = f"{prefix}.bn"
    behind = NormSlot(f"{bn}.weight", f"{bn}.bias", f"{bn}.running_mean", f"{bn}.running_var", eps)
    return ConvSlot(f"{prefix}.conv.weight", f"{prefix}.conv.bias" if bias else None, behind if norm else None)


def shapes(slots: Sequence[ConvSlot], convs: Sequence[ConvWeights]) -> dict[str, tuple[int, ...]]:
    wanted: dict[str, tuple[int, ...]] = {}
    for s, c in zip(slots, convs, strict=True):
        norm = (s.norm.weight, s.norm.bias, s.norm.mean, s.norm.var) if s.norm else ()
        wanted[s.weight] = c.weight.shape
        wanted.update({name: c.weight.shape[:1] for name in (s.bias, *norm) if name})
    return wanted


def conv(name: str, out: int, inner: int = 3, *, bias: bool = True) -> ConvWeights:
    rng = np.random.default_rng(out)
    weight = rng.standard_normal((out, inner, 1, 1)).astype(np.float32)
    return ConvWeights(name, weight, rng.standard_normal(out).astype(np.float32) if bias else None)


@pytest.mark.parametrize("eps", [1e-5, 1e-3, 0.1])
def test_the_identity_norm_does_nothing_but_shift(eps: float) -> None:
    given, place = conv("Conv_0", 5), slot("stem", eps=eps)
    got = assign_convs([given], [place], shapes([place], [given])).tensors
    x = np.random.default_rng(0).standard_normal(3).astype(np.float32)
    y = got["stem.conv.weight"][:, :, 0, 0] @ x
    scale = got["stem.bn.weight"] / np.sqrt(got["stem.bn.running_var"] + np.float32(eps))
    np.testing.assert_array_equal(scale, np.ones(5, np.float32))  # exact, not merely close
    normed = (y - got["stem.bn.running_mean"]) * scale + got["stem.bn.bias"]
    assert given.bias is not None
    np.testing.assert_array_equal(normed, given.weight[:, :, 0, 0] @ x + given.bias)
    assert all(array.dtype == np.float32 for array in got.values())


def test_every_kind_of_slot() -> None:
    convs = [conv("a", 4), conv("b", 5), conv("c", 6), conv("d", 7, bias=False), conv("e", 8, bias=False)]
    slots = [
        slot("a"),
        slot("b", bias=True, norm=False),
        slot("c", bias=True, norm=True),
        slot("d", norm=False),
        slot("e", bias=True, norm=False),
    ]
    weights = assign_convs(convs, slots, shapes(slots, convs), {"source": "m.onnx"})
    assert weights.meta == {"source": "m.onnx", "format": "onnx"}
    got = weights.tensors
    np.testing.assert_array_equal(got["a.bn.bias"], convs[0].bias)
    np.testing.assert_array_equal(got["b.conv.bias"], convs[1].bias)
    np.testing.assert_array_equal(got["c.conv.bias"], convs[2].bias)
    np.testing.assert_array_equal(got["c.bn.bias"], np.zeros(6))
    np.testing.assert_array_equal(got["e.conv.bias"], np.zeros(8))
    assert got.keys() == shapes(slots, convs).keys()


def test_a_shared_convolution_must_hold_equal_values() -> None:
    once, other = conv("l0", 4), conv("l1", 4)
    place = slot("head", bias=True, norm=False)
    wanted = shapes([place], [once])
    assert len(assign_convs([once, other], [place, place], wanted).tensors) == 2
    with pytest.raises(BadWeights, match=r"convolution 2 of the file \('l1'\).*other values"):
        assign_convs([once, ConvWeights("l1", once.weight + 1, once.bias)], [place, place], wanted)


def message(convs: Sequence[ConvWeights], slots: Sequence[ConvSlot], wanted: dict[str, tuple[int, ...]]) -> str:
    with pytest.raises(BadWeights) as caught:
        assign_convs(convs, slots, wanted)
    return str(caught.value)


def test_the_first_place_that_does_not_fit_is_named() -> None:
    convs, slots = [conv("a", 4), conv("b", 5)], [slot("x"), slot("y")]
    wanted = {**shapes(slots, convs), "y.conv.weight": (9, 3, 1, 1)}
    assert message(convs, slots, wanted).splitlines()[0] == (
        "GD500 convolution 2 of the file ('b') gives 'y.conv.weight' the shape [5 3 1 1], "
        "but the detector wants [9 3 1 1]"
    )
    wanted = shapes(slots, convs)
    assert "the file has 2 convolutions, the detector 1: 'b' is left over" in message(convs, slots[:1], wanted)
    assert "the file has 1 convolutions, the detector 2: 'y.conv.weight' gets nothing" in message(
        convs[:1], slots, wanted
    )
    assert "neither a bias nor a norm" in message(convs[:1], [slot("x", norm=False)], wanted)
    assert "which is no parameter" in message(convs[:1], [slot("z")], wanted)


# --- files ------------------------------------------------------------------------------------------------------------


def model(nodes: list[onnx.NodeProto], tensors: Tensors) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    constants = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    return helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], constants))


def written(tmp_path: Path, made: onnx.ModelProto) -> Path:
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    return tmp_path / "m.onnx"


W, B = np.arange(12, dtype=np.float32).reshape(4, 3, 1, 1), np.arange(4, dtype=np.float32)


def test_weights_are_seen_through_constants_and_identities(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["w0"], value=numpy_helper.from_array(W)),
        helper.make_node("Identity", ["w0"], ["w"]),
        helper.make_node("Conv", ["x", "w", "b"], ["m"], name="first"),
        helper.make_node("Conv", ["m", "v"], ["y"]),
    ]
    half = np.ones((2, 4, 1, 1), np.float16)
    convs = read_onnx_convs(written(tmp_path, model(nodes, {"b": B, "v": half})))
    assert [c.name for c in convs] == ["first", "y"]
    np.testing.assert_array_equal(convs[0].weight, W)
    assert convs[0].bias is not None
    np.testing.assert_array_equal(convs[0].bias, B)
    assert convs[1].bias is None
    assert convs[1].weight.dtype == np.float32


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ([helper.make_node("Relu", ["x"], ["y"])], "no Conv node"),
        ([helper.make_node("Conv", ["x", "x"], ["y"], name="c")], "Conv 'c' are computed"),
        (
            [
                helper.make_node("Conv", ["x", "w"], ["m"]),
                helper.make_node("BatchNormalization", ["m", "b", "b", "b", "b"], ["y"]),
            ],
            "1 BatchNormalization nodes that are not folded",
        ),
        ([helper.make_node("Conv", ["x", "b"], ["y"], name="c")], r"weight of \[4\]"),
        ([helper.make_node("Identity", ["y"], ["y"]), helper.make_node("Conv", ["x", "y"], ["y"])], "computed"),
    ],
)
def test_models_that_cannot_be_read(tmp_path: Path, nodes: list[onnx.NodeProto], text: str) -> None:
    with pytest.raises(BadWeights, match=text):
        read_onnx_convs(written(tmp_path, model(nodes, {"w": W, "b": B})))


def test_tensors_in_other_files_are_not_followed(tmp_path: Path) -> None:
    made = model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": W})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    with pytest.raises(BadWeights, match="in another file"):
        read_onnx_convs(written(tmp_path, made))


def test_a_damaged_file(tmp_path: Path) -> None:
    path = written(tmp_path, model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": W}))
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with contextlib.suppress(BadWeights):  # where only the version table behind the graph is lost, the file is read
            np.testing.assert_array_equal(read_onnx_convs(path)[0].weight, W)
            assert size > len(whole) - 10


def test_a_real_model_fits_its_names(shared: Callable[[str], Path]) -> None:
    folder = shared("data/yolox-nano-0.1.1rc0-onnx")
    convs = read_onnx_convs(folder / "yolox_nano.onnx")
    names = json.loads((folder / "conv_order_mmdet_names.json").read_text())
    assert len(convs) == len(names) == 113
    heads = ("conv_cls", "conv_reg", "conv_obj")
    slots = [slot(n, bias=any(h in n for h in heads), norm=not any(h in n for h in heads)) for n in names]
    got = assign_convs(convs, slots, shapes(slots, convs))
    by_name = {n: got.tensors[f"{n}.conv.weight"].shape for n in names}
    assert by_name["backbone.stem.conv"] == (16, 12, 3, 3)
    assert all(shape[1] == 1 for n, shape in by_name.items() if n.endswith("depthwise_conv"))
    assert sorted(shape[0] for n, shape in by_name.items() if "multi_level_conv" in n) == [1] * 3 + [4] * 3 + [80] * 3
    assert sum(c.weight.size + (0 if c.bias is None else c.bias.size) for c in convs) == 904_463
    assert len(read_weights(folder / "yolox_nano.onnx").tensors) >= 226
