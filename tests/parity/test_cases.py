"""Detectors against the reference implementation's recorded figures: stages, detections, losses, gradient norms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphdet import ops, zoo
from graphdet.compiler.backends.numpy.execute import execute
from graphdet.eval.parity import Objects, unmatched
from graphdet.ir import Graph, trace
from graphdet.ir.detector import Variant
from graphdet.records import Array
from graphdet.runtime.panoptic import fuse
from tests.parity import kit

torch = pytest.importorskip("torch")

CASES = {
    "mask2former__mask2former_r50_8xb2-lsj-50e_coco": "mask2former_r50",
    "mask2former__mask2former_r50_8xb2-lsj-50e_coco-panoptic": "mask2former_r50_panoptic",
    "solov2__solov2_r50_fpn_1x_coco": "solov2_r50",
    "cascade_rcnn__cascade-mask-rcnn_r50_fpn_1x_coco": "cascade_mask_rcnn_r50",
    "mask_rcnn__mask-rcnn_r50_fpn_1x_coco": "mask_rcnn_r50",
    "mask_rcnn__mask-rcnn_x101-32x4d_fpn_1x_coco": "mask_rcnn_x101_32x4d",
    "cascade_rcnn__cascade-rcnn_r50_fpn_1x_coco": "cascade_rcnn_r50",
    "deformable_detr__deformable-detr_r50_16xb2-50e_coco": "deformable_detr_r50",
    "deformable_detr__deformable-detr-refine-twostage_r50_16xb2-50e_coco": "deformable_detr_twostage_refine_r50",
    "detr__detr_r50_8xb2-150e_coco": "detr_r50",
    "centernet__centernet_r18_8xb16-crop512-140e_coco": "centernet_r18",
    "centernet__centernet_r18-dcnv2_8xb16-crop512-140e_coco": "centernet_r18_dcnv2",
    "atss__atss_r50_fpn_1x_coco": "atss_r50",
    "gfl__gfl_r50_fpn_1x_coco": "gfl_r50",
    "fast_rcnn__fast-rcnn_r50_fpn_1x_coco": "fast_rcnn_r50",
    "faster_rcnn__faster-rcnn_r50-caffe-c4_ms-1x_coco": "faster_rcnn_r50_caffe_c4",
    "faster_rcnn__faster-rcnn_r50-caffe-dc5_1x_coco": "faster_rcnn_r50_caffe_dc5",
    "faster_rcnn__faster-rcnn_r50_fpn_1x_coco": "faster_rcnn_r50",
    "fcos__fcos_r50-caffe_fpn_gn-head_1x_coco": "fcos_r50_caffe",
    "fcos__fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco": "fcos_improved_r50_caffe",
    "gn__mask-rcnn_r50_fpn_gn-all_2x_coco": "mask_rcnn_r50_gn",
    "scratch__mask-rcnn_r50-scratch_fpn_gn-all_6x_coco": "mask_rcnn_r50_gn_scratch",
    "rpn__rpn_r50_fpn_1x_coco": "rpn_r50",
    "retinanet__retinanet_r50_fpn_1x_coco": "retinanet_r50",
    "ssd__ssd300_coco": "ssd300",
    "ssd__ssdlite_mobilenetv2-scratch_8xb24-600e_coco": "ssdlite_mobilenetv2",
    "yolo__yolov3_d53_8xb8-320-273e_coco": "yolov3_d53_320",
    "yolo__yolov3_mobilenetv2_8xb24-320-300e_coco": "yolov3_mobilenetv2_320",
    "yolox__yolox_nano_8xb8-300e_coco": "yolox_nano",
    "yolox__yolox_tiny_8xb8-300e_coco": "yolox_tiny",
    "yolox__yolox_s_8xb8-300e_coco": "yolox_s",
}
VIEWS: dict[str, dict[str, Callable[[dict[str, Array]], Array]]] = {  # taps that the reference lays out in another way
    "detr": {
        ".encoder": lambda found: found[".encoder"].swapaxes(0, 1),
        ".decoder": lambda found: _layers(found, ".decoder").swapaxes(1, 2),
        ".0": lambda found: _layers(found, ".decoder"),
        ".1": lambda found: _map(found[".encoder"], found["backbone.0"]),
    },
    "deformable_detr": {
        ".encoder": lambda found: found[".encoder"].swapaxes(0, 1),
        ".decoder.0": lambda found: _layers(found, ".decoder.0").swapaxes(1, 2),
        ".decoder.1": lambda found: _layers(found, ".decoder.1")[1:],
        ".0": lambda found: _layers(found, ".decoder.0").swapaxes(1, 2),
        ".1": lambda found: found[".decoder.1.0"],
        ".2": lambda found: _layers(found, ".decoder.1")[1:],
        ".3": lambda found: found[".proposals.0"],
        ".4": lambda found: _logit(found[".proposals.1"]),
    },
}
TRANSFORMER = "bbox_head.transformer"
DEEP = (TRANSFORMER, "panoptic_head")  # behind ten or more attention layers
ROUNDING = 1e-3  # pixels, of the recorded boxes: some are thinner
ARGUMENTS = {  # where a case has other sizes than the variant
    "fast_rcnn_r50": {"most": kit.PROPOSALS},
    "solov2_r50": {"cells": 3872},  # the reference bounds no number of masks
}
NORMS = ("batch_norm_train", "group_norm")  # by statistics of what they see
HEAVY = (  # a minute or more a test
    "cascade_mask_rcnn_r50", "deformable_detr_r50", "deformable_detr_twostage_refine_r50", "faster_rcnn_r50_caffe_c4",
    "faster_rcnn_r50_caffe_dc5", "mask2former_r50", "mask2former_r50_panoptic", "mask_rcnn_r50_gn",
    "mask_rcnn_r50_gn_scratch", "solov2_r50",
)  # fmt: skip
pytestmark = pytest.mark.data
Run = tuple[dict[str, Any], Graph, Any, dict[str, np.ndarray]]


@pytest.fixture(
    scope="module",  # all tests of a case in a row: what its runs hold is let go before the next
    params=[pytest.param(c, id=n, marks=[pytest.mark.slow] if n in HEAVY else []) for c, n in CASES.items()],
)
def case(request: pytest.FixtureRequest, shared: Callable[[str], Path]) -> Iterator[tuple[str, Path]]:
    """A case name and the folder of cases."""
    yield request.param, shared("parity")
    run.cache_clear()


def variant_of(name: str) -> Variant:
    """The detector of a case."""
    return zoo.get(CASES[name]).with_arguments(**ARGUMENTS.get(CASES[name], {}))


@cache
def run(name: str, folder: Path, phase: str, shaken: int = 0) -> Run:
    """Run one case in one phase in PyTorch; shaken: with pixels changed by a millionth, each number in another way."""
    from graphdet.compiler.backends.torch import to_module

    facts = kit.load_case(folder, name)
    graph = trace(variant_of(name), phase)
    module = to_module(graph, kit.weights(facts, graph), taps=True)
    module.train(phase == "train")
    tensors = {k.replace(".", "_"): torch.from_numpy(v) for k, v in kit.inputs(facts).items() if k in graph.inputs}
    if shaken:
        noise = torch.randn(tensors["pixels"].shape, generator=torch.Generator().manual_seed(shaken))
        tensors["pixels"] = tensors["pixels"] * (1 + 1e-6 * noise)
    with torch.set_grad_enabled(phase == "train"):
        result = module(**tensors)
    if phase == "train":
        losses = [v for k, v in result.items() if k in graph.outputs and not k.startswith("loss_l1")]
        sum(losses).backward()
    return facts, graph, module, {k: v.detach().numpy() for k, v in result.items()}


def test_names_and_shapes(case: tuple[str, Path]) -> None:
    """Every parameter and buffer of the reference, and nothing else."""
    facts = kit.load_case(case[1], case[0])
    graph = trace(variant_of(case[0]), "train")
    expected = {n: tuple(s) for n, s, kind in facts["parameters"] if kind != "x"}
    assert {n: tuple(d.constant for d in v.shape) for n, v in graph.params.items()} == expected


def _layers(found: dict[str, Array], prefix: str) -> Array:
    """What all decoder layers say."""
    return np.stack([v for k, v in found.items() if k.startswith(f"{prefix}.")])


def _map(rows: Array, like: Array) -> Array:
    """Rows [N H*W C] as a feature map of the size of another."""
    return rows.swapaxes(1, 2).reshape(len(rows), -1, *like.shape[2:])


def _logit(p: Array) -> Array:
    """The inverse of the sigmoid."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p / (1 - p)))


def _tapped(found: dict[str, Array], name: str, path: str) -> Array:
    """A tapped value in the layout of the reference."""
    if path == "neck.4" and path not in found:
        return found["neck.3"][:, :, ::2, ::2]  # the coarsest level is not computed where nothing reads it
    view = VIEWS.get(name.split("__")[0], {}).get(path.removeprefix(TRANSFORMER)) if TRANSFORMER in path else None
    return view({k.removeprefix(TRANSFORMER): v for k, v in found.items()}) if view else found[path]


def test_stages(case: tuple[str, Path]) -> None:
    """Tapped values of the evaluation pass, to 1e-4 of their largest magnitude; 5e-4 in deep transformers."""
    facts, _, _, found = run(*case, "infer")
    found = {**run(*case, "train")[3], **found}  # inference computes nothing that only losses read
    for stage, records in facts["stages"].items():
        for record in records:
            array = _tapped(found, case[0], stage + record["path"].replace("/", "."))
            if stage.startswith("roi_head"):  # the reference has no padding
                count = {**kit.inputs(facts), **found}["count" if "mask" in stage else "proposals.count"]
                array = live_rows(array, count)
            assert list(array.shape) == record["shape"]
            sample = np.asarray(record["sample"], np.float64)
            finite = np.isfinite(sample)
            limit = (5e-4 if stage.startswith(DEEP) else 1e-4) * min(
                record["absmax"], np.abs(sample[finite]).max() * 10
            )
            np.testing.assert_allclose(kit.sample(array), sample, rtol=0, atol=limit)
            if np.isfinite(record["absmax"]):
                assert abs(array.mean(dtype=np.float64) - record["mean"]) <= limit
                assert abs(np.abs(array).max() - record["absmax"]) <= limit


def live_rows(array: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The rows of [N*K ...] that are no padding: the first `count` of each image."""
    rows = len(array) // len(count)
    return array[(np.arange(rows) < count[:, None]).reshape(-1)]


def test_detections(case: tuple[str, Path]) -> None:
    """Every recorded box has a partner: same label, IoU >= 0.99, score within 1e-4 of the largest score."""
    facts, _, _, found = run(*case, "infer")
    for i, record in enumerate(facts["detections"]):
        count = int(found["count"][i])
        assert count == record["count"]
        boxes, scores, labels = (found[k][i, :count] for k in ("boxes", "scores", "labels"))
        tolerance = 1e-4 * max(record["scores"])
        cut = min(record["scores"]) + tolerance
        least, most = (mask_areas(facts, found, i, side) if "mask_area" in record else None for side in (-1, 1))
        for k, (box, score, label) in enumerate(zip(record["boxes"], record["scores"], record["labels"], strict=True)):
            near = np.flatnonzero((labels == label) & (np.abs(scores - score) <= tolerance))
            same = (_iou(np.asarray(box), boxes[near]) >= 0.99) | (np.abs(boxes[near] - box) <= ROUNDING).all(1)
            same |= not any(box)  # the reference's masks without boxes
            assert same.any() or score <= cut, (i, box, score, label)
            if most is not None and least is not None and same.any():
                area, partners = record["mask_area"][k], near[same]
                fits = (least[partners] <= area) & (area <= most[partners])
                assert fits.any(), (i, box, area, least[partners], most[partners])


def test_panoptic_segments(case: tuple[str, Path]) -> None:
    """The recorded map of classes and instances, where the case is panoptic."""
    facts, _, _, found = run(*case, "infer")
    if "segment_logits" not in found:
        assert not any("panoptic_ids" in record for record in facts["detections"])
        return
    names = len(zoo.get(CASES[case[0]]).row.classes)
    for i, record in enumerate(facts["detections"]):
        span = np.array([0, 0, *facts["input"][:1:-1]], np.float32)
        queries = {k.removeprefix("segment_"): v[i] for k, v in found.items() if k.startswith("segment_")}
        height, width = facts["valid"][i]
        fused = fuse(queries, span, (height, width))
        marks = np.full(len(fused) + 1, names)  # the reference marks void so, and instance k of a class by 1000 k
        things = fused.labels < facts["num_classes"]
        marks[1:] = fused.labels + 1000 * np.where(things, np.cumsum(things), 0)
        drawn = marks[fused.map]
        ids, areas = np.unique(drawn, return_counts=True)
        assert (ids.tolist(), areas.tolist()) == (record["panoptic_ids"], record["panoptic_area"])
        np.testing.assert_array_equal(kit.sample(drawn, 256), record["panoptic_sample"])


def mask_areas(facts: dict[str, Any], found: dict[str, np.ndarray], i: int, side: int) -> np.ndarray:
    """Fewest (side -1) or most (side 1) pixels of each mask of one image, pasted by the op's own meaning.

    Pixels so near to the threshold that rounding decides may fall either way: probabilities are known to 2e-4, corners
    of boxes to 1e-3 pixels, and with them the cells of thin boxes.
    """
    boxes, masks, count = found["boxes"][i : i + 1], found["masks"][i : i + 1], found["count"][i : i + 1]
    if facts["model_type"] in ("SOLOv2", "Mask2Former"):  # masks of whole images
        height, width = facts["input"][2:]
        pasted = ops.resize.rules["reference"](masks + np.float32(side * 2e-4), height=height, width=width) > 0.5
        height, width = facts["valid"][i]
        return np.asarray(pasted[0, :, :height, :width].sum((1, 2), dtype=np.int64))
    thin = np.maximum((boxes[..., 2:] - boxes[..., :2]).min(-1), 1e-3)
    masks = masks + side * (2e-4 + 1e-3 * masks.shape[-1] / thin)[..., None, None].astype(np.float32)
    rule, (height, width) = ops.paste_masks.rules["reference"], facts["input"][2:]
    pasted = rule(masks, boxes, count, height=height, width=width, threshold=0.5)
    return np.asarray(pasted[0].sum((1, 2), dtype=np.int64))


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    extent = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None)
    inside = extent.prod(1)
    return np.asarray(inside / ((box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - inside))


def test_losses(case: tuple[str, Path]) -> None:
    """Every loss value, to 1e-4 relative."""
    facts, _, _, found = run(*case, "train")
    for name, values in facts["losses"].items():
        if "loss" not in name:  # a figure for the log, which nothing learns from
            continue
        ours = [found[k] for k in found if k == name or k.startswith(f"{name}.")]
        if len(ours) == 1:  # SSD's reference lists images: their sum is what is minimised
            values = [sum(values)]
        np.testing.assert_allclose([float(v) for v in ours], values, rtol=1e-4, atol=1e-6)


def test_gradient_norms(case: tuple[str, Path]) -> None:
    """The gradient norm of every parameter, to 1e-3 relative; none where the reference has none.

    Networks of many layers that train their norms can amplify rounding beyond that: there, norms may differ by
    four standard deviations of what a millionth of the pixels does, and by a millionth of the largest norm (the shift
    of a norm before another norm has no gradient but rounding).
    """
    facts, _, module, _ = run(*case, "train")
    expected, found = facts["grad_norms"], norms(module)
    assert {n for n in found if found[n] is None} == {n for n in found if expected[n] is None}
    misses = {n for n, v in found.items() if v is not None and not np.isclose(v, expected[n], rtol=1e-3, atol=1e-6)}
    if misses and any(node.name in NORMS for node in trace(zoo.get(CASES[case[0]]), "train")):
        others = [norms(run.__wrapped__(*case, "train", seed)[2]) for seed in range(1, 9)]  # not kept
        floor = 1e-6 * max(v for v in expected.values() if v is not None)
        spread = {n: 4 * np.std([other[n] for other in others], ddof=1) + floor for n in misses}
        misses = {n for n in misses if abs(found[n] - expected[n]) > spread[n]}
    assert not {n: (found[n], expected[n]) for n in misses}


def norms(module: Any) -> dict[str, Any]:
    """The gradient norm of every parameter, None where it has no gradient."""
    return {n: None if p.grad is None else float(p.grad.norm()) for n, p in module.named_parameters()}


@pytest.mark.nightly
def test_numpy_oracle(case: tuple[str, Path]) -> None:
    """The NumPy executor says what PyTorch says: the same detections, of near ties either one, and the same losses."""
    graph, ours, found = by_numpy(case, "infer")
    given = kit.inputs(kit.load_case(case[1], case[0]))
    settings = {k: v.node.attributes["default"] for k, v in graph.inputs.items() if not v.type.rank}
    thresholds = {k: float(given.get(k, default)) for k, default in settings.items()}
    np.testing.assert_array_equal(ours["count"], found["count"])
    for i in range(len(found["count"])):
        one, other = Objects.of(ours, i), Objects.of(found, i)
        assert not unmatched(one, other, **thresholds)
        assert not unmatched(other, one, **thresholds)
    graph, ours, found = by_numpy(case, "train")
    for name in graph.outputs:
        np.testing.assert_allclose(ours[name], found[name], rtol=1e-3, atol=1e-3, err_msg=name)


def by_numpy(case: tuple[str, Path], phase: str) -> tuple[Graph, dict[str, Array], dict[str, Array]]:
    """The graph and its outputs, by NumPy and by PyTorch."""
    facts, graph, _, found = run(*case, phase)
    values = execute(graph, kit.inputs(facts), kit.weights(facts, graph))
    return graph, {name: values[v] for name, v in graph.outputs.items()}, found
