"""Starting from weights: what fits is taken, a head for other classes is made anew and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from graphdet import zoo  # noqa: E402
from graphdet.compiler.backends.torch import load_weights, to_module  # noqa: E402
from graphdet.compiler.backends.torch.norms import refit_norms  # noqa: E402
from graphdet.data import parse_data  # noqa: E402
from graphdet.errors import BadRecipe, BadWeights  # noqa: E402
from graphdet.importers import read_weights, write_safetensors  # noqa: E402
from graphdet.importers.detector import variant_of  # noqa: E402
from graphdet.ir import trace  # noqa: E402
from graphdet.ir.initial import initial_values  # noqa: E402
from graphdet.records import Array  # noqa: E402
from graphdet.train.batch import Batches  # noqa: E402
from graphdet.train.start import check_held_out, class_parameters, start_from, variant_for  # noqa: E402

HEAD = {f"bbox_head.multi_level_conv_cls.{i}.{part}" for i in range(3) for part in ("weight", "bias")}


def shipped() -> Path:
    return next((Path(zoo.__file__ or "").parent / "weights").glob("*.safetensors"))


def test_the_head_follows_the_data() -> None:
    scenes = parse_data("scenes:2")
    assert variant_for("yolox_scenes", scenes).row.arguments["num_classes"] == 5
    few = variant_for("yolox_nano", parse_data("scenes:2#star,ring"))
    assert few.row.classes == ("star", "ring")
    assert trace(few, "infer").params["bbox_head.multi_level_conv_cls.0.weight"].shape[0].constant == 2
    assert class_parameters(few) == HEAD
    with pytest.raises(BadRecipe, match="held-out data has ring, star"):
        check_held_out(parse_data("scenes:2#star,ring"), parse_data("scenes:2#ring,star"))


def test_what_fits_is_taken_and_the_rest_named(tmp_path: Path) -> None:
    own = variant_for("yolox_scenes", parse_data("scenes:2"))
    module = to_module(trace(own, "train"))
    start = start_from(module, own, str(shipped()))
    assert not start.fresh
    stored = read_weights(shipped()).tensors
    assert all(np.array_equal(v.numpy(), stored[n].astype(np.float32)) for n, v in module.state_dict().items()
               if n in stored)  # fmt: skip
    few = variant_for("yolox_scenes", parse_data("scenes:2#star,ring"))
    start = start_from(to_module(trace(few, "train")), few, str(shipped()))
    assert set(start.fresh) == HEAD
    assert "6 initialised anew (bbox_head.multi_level_conv_cls.0" in str(start)
    turned = variant_for("yolox_scenes", parse_data("scenes:2#ring,star,triangle,rectangle,circle"))
    start = start_from(to_module(trace(turned, "train")), turned, str(shipped()))
    assert set(start.fresh) == HEAD, "as many classes, but others: the head would name them wrongly"


def test_weights_of_a_backbone_alone(tmp_path: Path) -> None:
    own = variant_for("yolox_scenes", parse_data("scenes:2"))
    stored = read_weights(shipped()).tensors
    bare = {n.removeprefix("backbone."): a for n, a in stored.items() if n.startswith("backbone.")}
    write_safetensors(tmp_path / "body.safetensors", bare)
    start = start_from(to_module(trace(own, "train")), own, str(tmp_path / "body.safetensors"))
    assert len(start.taken) == len(bare)
    assert all(not n.startswith("backbone.") for n in start.fresh)
    write_safetensors(tmp_path / "none.safetensors", {"x": np.zeros(3, np.float32)})
    with pytest.raises(BadWeights, match="no parameter of"):
        start_from(to_module(trace(own, "train")), own, str(tmp_path / "none.safetensors"))


def test_the_result_says_what_it_is(tmp_path: Path) -> None:
    few = variant_for("yolox_nano", parse_data("scenes:2#star,ring"))
    meta = {"detector": "yolox_nano", "num_classes": "2", "classes": '["star", "ring"]'}
    write_safetensors(tmp_path / "w.safetensors", initial_values(trace(few, "infer")), meta)
    found = variant_of(zoo.get("yolox_nano"), read_weights(tmp_path / "w.safetensors"))
    assert found.row == replace(few.row, ap=found.row.ap)


def fold(weights: dict[str, Array], eps: float) -> dict[str, Array]:
    """Weights with every norm folded into its convolution, as exporters leave them: the norm keeps only a bias."""
    out = dict(weights)
    for name in [n.removesuffix(".running_mean") for n in weights if n.endswith(".running_mean")]:
        w, b, m, v = (weights[f"{name}.{k}"] for k in ("weight", "bias", "running_mean", "running_var"))
        gain = w / np.sqrt(v + eps)
        kernel = f"{name.rpartition('.')[0]}.conv.weight"
        out[kernel] = weights[kernel] * gain[:, None, None, None]
        out[f"{name}.weight"], out[f"{name}.bias"] = np.full_like(w, np.sqrt(1 + eps)), b - m * gain
        out[f"{name}.running_mean"], out[f"{name}.running_var"] = np.zeros_like(m), np.ones_like(v)
    return out


def test_folded_norms_are_estimated_anew(tmp_path: Path) -> None:
    """The stored function stays; the new statistics are those of the data, so that training continues where it was."""
    data = parse_data("scenes:8:3:64x64")
    own = variant_for("yolox_scenes", data)
    stored = {n: a.astype(np.float32) for n, a in read_weights(shipped()).tensors.items()}
    graph = trace(own, "train")
    node = next(n for n in graph.nodes if n.name == "batch_norm_train")
    folded = fold(stored, node.attributes["eps"])
    counters = {n: np.asarray(0) for n in graph.params if n.endswith("num_batches_tracked")}
    plain, module = to_module(graph, folded | counters), to_module(graph, folded | counters)
    parts = [part for step in range(2) for part in Batches(data, own.preprocess, 4)(step)]
    inputs = [{k: torch.from_numpy(v) for k, v in p.items() if k in {"pixels", "truth_boxes", "truth_labels",
               "truth_count"}} for p in parts]  # fmt: skip
    assert refit_norms(module, inputs) == sum(n.endswith("running_mean") for n in stored)
    infer = trace(own, "infer")
    engines = []
    for source in (plain, module):
        engine = to_module(infer).eval()
        load_weights(engine, {n: v.numpy() for n, v in source.state_dict().items()})
        extra = {"size": torch.tensor([[64.0, 64.0]] * 4), "geometry": torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 4)}
        engines.append(engine(pixels=inputs[0]["pixels"], **{k: v for k, v in extra.items() if k in infer.inputs}))
    for name in ("scores", "boxes"):
        torch.testing.assert_close(engines[0][name], engines[1][name], rtol=1e-3, atol=2e-3)
    assert refit_norms(module, inputs) == 0, "they are folded no more"


@pytest.mark.data
def test_published_weights(shared: Callable[[str], Path]) -> None:
    own = variant_for("yolox_nano", parse_data("scenes:2"))
    file = shared("data/yolox-nano-0.1.1rc0-onnx") / "yolox_nano.onnx"
    start = start_from(to_module(trace(own, "train")), own, str(file))
    assert set(start.fresh) == HEAD
