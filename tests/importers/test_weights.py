"""Weights files: formats are told apart by content, safetensors go round, names are matched with helpful errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graphdet.errors import BadWeights, MissingFile
from graphdet.importers import Weights, match_names, read_weights, write_safetensors

TENSORS: dict[str, NDArray[Any]] = {
    "z.float": np.arange(6, dtype=np.float32).reshape(2, 3),
    "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    "scalar": np.array(3, np.int64),
    "empty": np.zeros((0, 4), np.float16),
    "flag": np.array([True, False, True]),
    "big": np.arange(3, dtype=">i4"),
    "bytes": np.arange(5, dtype=np.uint8),
}


def test_safetensors_go_round(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"  # the ending does not matter
    write_safetensors(path, TENSORS, {"classes": '["a", "é"]', "b": "x"})
    found = read_weights(path)
    assert found.tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(found.tensors[name], array)
        assert found.tensors[name].shape == array.shape
        assert found.tensors[name].dtype == array.dtype.newbyteorder("=")
        assert found.tensors[name].flags.c_contiguous
    assert found.classes == ("a", "é")
    assert found.meta["source"] == "w.bin"
    assert [p.name for p in tmp_path.iterdir()] == ["w.bin"]


def test_safetensors_are_canonical_and_readable_by_others(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    write_safetensors(tmp_path / "a", TENSORS, {"x": "1", "y": "2"})
    write_safetensors(tmp_path / "b", dict(reversed(TENSORS.items())), {"y": "2", "x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    np.testing.assert_array_equal(load_file(tmp_path / "a")["transposed"], TENSORS["transposed"])
    write_safetensors(tmp_path / "a", {})
    assert read_weights(tmp_path / "a").tensors == {}


def test_bfloat16_safetensors_are_widened(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    values = torch.randn(3, 4).to(torch.bfloat16)
    save_file({"x": values}, tmp_path / "w.safetensors")
    np.testing.assert_array_equal(read_weights(tmp_path / "w.safetensors").tensors["x"], values.float().numpy())


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w"
    write_safetensors(path, {"a": np.ones(2, np.float32)})
    before = path.read_bytes()
    with pytest.raises(BadWeights, match="dtype object"):
        write_safetensors(path, {"a": np.array([None])})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


def test_damaged_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "w"
    write_safetensors(path, TENSORS, {"x": "y"})
    whole = path.read_bytes()
    for data in (whole[:-1], whole[:200], whole[:9], whole[:8], whole.replace(b'"F32"', b'"F64"'), whole + b"x"):
        path.write_bytes(data)
        with pytest.raises(BadWeights):
            read_weights(path)


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", b"\x00" * 40, b"\x08\x07\xff\xff", b"version https"])
def test_unknown_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(BadWeights, match=r"w\.pth"):
        read_weights(tmp_path / "w.pth")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"none\.pth"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(BadWeights, match="cannot be read"):
        read_weights(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "3", "[1]", '{"a": 1}'])
def test_unreadable_class_names(text: str) -> None:
    with pytest.raises(BadWeights, match="classes"):
        _ = Weights({}, {"classes": text}).classes


def test_no_framework_is_imported() -> None:
    code = "import sys, graphdet.importers.mmdet, graphdet.importers.onnx_order as o\n"
    code += "sys.exit(any(m in sys.modules for m in ('torch', 'onnx', 'safetensors', 'cv2')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- names ------------------------------------------------------------------------------------------------------------

SHAPES: dict[str, tuple[int, ...]] = {"a.weight": (2, 3), "a.bias": (2,), "bn.num_batches_tracked": ()}


def found(**changes: tuple[int, ...] | None) -> dict[str, NDArray[Any]]:
    shapes = {**SHAPES, **{name.replace("__", "."): shape for name, shape in changes.items()}}
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items() if shape is not None}


def test_matching_names_come_in_the_expected_order() -> None:
    arrays = found()
    matched = match_names(SHAPES, dict(reversed(arrays.items())))
    assert list(matched) == list(SHAPES)
    assert all(matched[name] is arrays[name] for name in SHAPES)
    assert match_names({}, {}) == {}


def test_batch_counters_are_forgiven() -> None:
    matched = match_names(SHAPES, found(bn__num_batches_tracked=None, other__num_batches_tracked=()))
    assert list(matched) == list(SHAPES)
    assert matched["bn.num_batches_tracked"] == 0
    assert matched["bn.num_batches_tracked"].dtype == np.int64


def test_what_does_not_fit_is_listed() -> None:
    with pytest.raises(BadWeights) as caught:
        match_names(SHAPES, found(a__bias=None, a__biass=(2,), a__weight=(4, 3)))
    assert str(caught.value).splitlines() == [
        "GD500 the weights do not fit the detector",
        "  1 missing:",
        "    a.bias",
        "  1 surplus:",
        "    a.biass",
        "  1 misshapen:",
        "    a.weight has [4 3], wanted [2 3]",
        "  help: for 'a.bias': did you mean 'a.biass'?",
        "  see docs/errors.md#gd500",
    ]


def test_long_lists_are_cut() -> None:
    with pytest.raises(BadWeights, match=r"25 missing:(\n    n\d+){10}\n    \.\.\. and 15 more\n"):
        match_names({f"n{i}": (1,) for i in range(25)}, {})


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model."])
def test_a_common_prefix_is_suggested(prefix: str) -> None:
    wrapped = Weights({prefix + name: array for name, array in found().items()})
    with pytest.raises(BadWeights) as caught:
        match_names(SHAPES, wrapped.tensors)
    assert f"without_prefix({prefix!r})" in caught.value.help
    assert list(match_names(SHAPES, wrapped.without_prefix(prefix).tensors)) == list(SHAPES)


def test_a_prefix_is_not_taken_off_when_names_would_collide() -> None:
    with pytest.raises(BadWeights, match="one name"):
        Weights({name: np.ones(1) for name in ("a", "module.a")}).without_prefix("module.")


def test_a_file_that_holds_one_part_only() -> None:
    with pytest.raises(BadWeights) as caught:
        match_names({f"backbone.{name}": shape for name, shape in SHAPES.items()}, found())
    assert "'backbone.'" in caught.value.help


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"a__bias": None}, "only a part"),
        ({"c": (1,)}, "lacks a part"),
        ({"a__bias": (3,)}, "number of classes"),
    ],
)
def test_the_advice_fits_the_fault(changes: dict[str, tuple[int, ...] | None], advice: str) -> None:
    with pytest.raises(BadWeights) as caught:
        match_names(SHAPES, found(**changes))
    assert advice in caught.value.help


def test_shared_weights_under_each_layers_name() -> None:
    """A checkpoint stores the weights that several layers share under the name of each."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = {"head.0.weight": (2, 3)}
    found = match_names(expected, {"head.0.weight": array, "head.1.weight": array.copy()})
    assert list(found) == ["head.0.weight"]
    with pytest.raises(BadWeights, match=r"1 surplus:\n\s+head\.1\.weight"):
        match_names(expected, {"head.0.weight": array, "head.1.weight": array + 1})
