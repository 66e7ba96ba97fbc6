"""Verbs that tell about detectors: zoo, show, explain, diff, docs, doctor."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphdet import zoo
from graphdet.cli import _build, _variants, doctor
from graphdet.ir import parse, to_text, trace
from graphdet.runtime.header import CPP_TARGETS, TARGETS
from tests.cli.conftest import Run, document

ROOT = Path(__file__).resolve().parents[2]


def test_zoo_lists_every_variant(run: Run) -> None:
    rows = document(run("zoo", "--json"))
    assert [row["name"] for row in rows] == list(zoo.variants())
    assert {row["parity"] for row in rows} <= {"passed", "outdated", "unrecorded"}
    assert all(set(row["certified"]) <= set(row["targets"]) for row in rows)
    nano = next(row for row in rows if row["name"] == "yolox_nano")
    assert nano["parameters"] == 912_159
    assert nano["size"] == [416, 416]
    assert nano["targets"] == list(TARGETS)
    text = run("zoo").stdout
    assert all(name in text for name in zoo.variants())
    assert "Ge et al. 2021, arXiv:2107.08430" in text


def test_the_targets_of_the_command_line_are_those_of_the_runtime() -> None:
    assert _build.TARGETS == TARGETS == tuple(doctor.TARGETS)
    assert doctor.CPP_TARGETS == CPP_TARGETS


@pytest.mark.parametrize("phase", ["infer", "train"])
def test_show_prints_a_graph_that_parses_back(run: Run, phase: str) -> None:
    graph = trace(zoo.get("yolox_scenes"), phase)
    text = run("show", "yolox_scenes", "--phase", phase).stdout
    assert parse(text).hash == graph.hash
    assert text.count("\n") == to_text(graph).count("\n")
    assert document(run("show", "yolox_scenes", "--phase", phase, "--json"))["graph"] == text


def test_show_summary(run: Run) -> None:
    d = document(run("show", "yolox_nano", "--summary", "--json"))
    assert d["nodes"]["conv2d"] == 113
    assert d["by_phase"] == d["nodes"]["batch_norm"] == 104
    assert sum(d["multiply_adds_by_scope"].values()) == sum(d["multiply_adds_by_op"].values()) == d["multiply_adds"]
    assert "backbone.0" in d["taps"]
    text = run("show", "yolox_nano", "--summary").stdout
    assert "0.54 G multiply-adds" in text
    assert "backbone" in text
    trained = document(run("show", "yolox_nano", "--summary", "--phase", "train", "--json"))
    assert "batch_norm_train" in trained["nodes"]
    assert run("show", "yolox_nano", "--summary", "--phase", "train").exit_code == 0


def test_show_an_engine(run: Run, engine: Path) -> None:
    d = document(run("show", engine, "--json"))
    assert (d["detector"], d["target"], d["input"]) == ("yolox_scenes", "onnxruntime", {"batch": 1, "size": [64, 64]})
    text = run("show", engine).stdout
    assert "certificate" in text
    assert "nms" in text
    assert d["blobs"][0]["sha256"] in text
    assert "output boxes" in run("show", engine, "--graph").stdout


def test_show_a_damaged_engine(run: Run, engine: Path, tmp_path: Path) -> None:
    data = bytearray(engine.read_bytes())
    data[-1] ^= 1
    broken = tmp_path / "broken.gdet"
    broken.write_bytes(data)
    done = run("show", broken)
    assert done.exit_code == 2
    assert done.stderr.startswith("GD403 ")


def test_show_weights(run: Run, weights: Path) -> None:
    d = document(run("show", weights, "--json"))
    assert d["meta"]["detector"] == "yolox_scenes"
    assert d["tensors"]["backbone.stem.conv.bn.bias"] == {"dtype": "float32", "shape": [8]}
    assert "backbone.stem.conv.bn.bias" in run("show", weights).stdout


def test_explain(run: Run) -> None:
    d = document(run("explain", "yolox_scenes", "--json"))
    fused = next(p for p in d["passes"] if p["pass"] == "fuse_conv_norm")
    assert fused["rewrites"] == 104
    assert [fault["op"] for fault in d["known_bad"]] == ["nms"]
    text = run("explain", "yolox_scenes", "--size", "dynamic", "--batch", "dynamic").stdout
    assert "fuse_conv_norm" in text
    assert "NonMaxSuppression on openvino" in text


def test_diff_of_variants(run: Run) -> None:
    same = run("diff", "yolox_s", "yolox_s", "--json")
    assert same.exit_code == 0
    assert document(same) == {"equal": True, "lines": [], "settings": {}}
    other = run("diff", "yolox_tiny", "yolox_s")
    assert other.exit_code == 1
    assert "- conv2d(" in other.stdout
    assert "+ conv2d(" in other.stdout


def test_diff_of_engines(run: Run, engine: Path, weights: Path, tmp_path: Path) -> None:
    assert run("diff", engine, engine).stdout.endswith("are equal\n")
    other = tmp_path / "other.gdet"
    words = ("--weights", weights, "--target", "onnx", "--size", "64x96", "--no-certify")
    assert run("compile", "yolox_scenes", *words, "-o", other).exit_code == 0
    done = run("diff", engine, other, "--json")
    assert done.exit_code == 1
    assert document(done)["settings"]["target"] == ["onnxruntime", "onnx"]
    mixed = run("diff", "yolox_scenes", engine)
    assert mixed.exit_code == 1
    assert "- batch_norm(" in mixed.stdout


def test_docs_are_written_once_and_checked(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    assert run("docs", "--check", "--out", folder).exit_code == 1
    assert not folder.exists()
    assert document(run("docs", "--out", folder, "--json"))["different"] == [
        "errors.md",
        "known-bad.md",
        "ops.md",
        "zoo.md",
    ]
    assert run("docs", "--check", "--out", folder).exit_code == 0
    assert '<a id="gd211"></a>' in (folder / "errors.md").read_text()
    assert "### conv2d" in (folder / "ops.md").read_text()
    assert "`retinanet_r50`" in (folder / "zoo.md").read_text()
    (folder / "ops.md").write_text("changed")
    done = run("docs", "--check", "--out", folder)
    assert done.exit_code == 1
    assert "ops.md" in done.stdout


def test_docs_into_an_impossible_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("docs", "--out", tmp_path / "file")
    assert done.exit_code == 2
    assert done.stderr.startswith("GD520 ")


def test_doctor(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    d = document(run("doctor", "--json"))
    assert d["extension"]["loads"]
    assert d["packages"]["numpy"]["loads"]
    spoken = {target: row["cpp"] for target, row in d["targets"].items()}
    assert spoken.pop("openvino") == "C++ can be built"
    assert spoken.pop("torch") == doctor.NO_ADAPTER
    assert spoken.pop("onnx") == spoken.pop("onnxruntime") == doctor.NO_HEADERS
    assert spoken == dict.fromkeys(CPP_TARGETS, doctor.NO_TENSORRT)
    assert not d["targets"]["tensorrt"]["available"]
    monkeypatch.setattr(doctor, "EXTENSION", "graphdet.runtime._absent")
    monkeypatch.setitem(doctor.PACKAGES, "openvino", ("no-such-openvino", "pip install openvino"))
    monkeypatch.setitem(doctor.TARGETS, "openvino", ("no_such_module",))
    monkeypatch.setitem(doctor.PACKAGES, "no_such_module", ("no-such-module", "pip install no-such-module"))
    broken = run("doctor")
    assert broken.exit_code == 1
    assert "needs: pip install no-such-module" in broken.stdout
    assert "MISSING" in broken.stdout


def test_states_are_what_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = trace(zoo.get("yolox_scenes"))
    for record, state, certified in (
        ({}, "unrecorded", ()),
        ({"yolox_scenes": {"graph": graph.hash, "targets": ["onnx"]}}, "passed", ("onnx",)),
        ({"yolox_scenes": {"graph": "another", "targets": ["onnx"]}}, "outdated", ()),
    ):
        monkeypatch.setattr(_variants, "recorded", lambda name, record=record: record)
        assert _variants.parity_of(graph) == state
        assert _variants.certified_of(graph) == certified


@pytest.mark.parametrize("name", ["parity", "certificates"])
def test_only_variants_are_recorded(name: str) -> None:
    record = _variants.recorded(name)
    assert record
    assert set(record) <= set(zoo.variants())
    assert all(set(row.get("targets", ())) <= set(TARGETS) for row in record.values())
