"""Parameter names, shapes and what is trained equal the reference's, for every configuration of our families."""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphdet.ir import Graph, Value, trace
from graphdet.zoo import get, variants

FAMILIES = {
    "DETR": "detr/",
    "DeformableDETR": "deformable_detr/",
    "ATSS": "atss/",
    "FCOS": "fcos/",
    "GFL": "gfl/",
    "CenterNet": "centernet/",
    "SingleStageDetector": "ssd/",
    "YOLOV3": "yolo/",
    "RetinaNet": "retinanet/",
    "YOLOX": "yolox/",
    "RPN": "rpn/",
    "FastRCNN": "fast_rcnn/",
    "FasterRCNN": ("faster_rcnn/", "scratch/", "fpg/faster_rcnn_r50_fpn_"),
    "CascadeRCNN": "cascade_rcnn/",
    "MaskRCNN": ("mask_rcnn/", "gn/", "scratch/", "selfsup_pretrain/"),
    "Mask2Former": "mask2former/",
    "SOLOv2": "solov2/",
}
OTHERS = ("_dcn_", "_dconv_", "_swin-")  # other networks
CLASSES = {"-person-bicycle-car": 3, "-person": 1}  # configurations with other numbers of classes
SAME_NETWORK = {  # configurations that differ from a variant's own in training or selection alone
    "_fpn_2x": "_fpn_1x",
    "_fpn_3x": "_fpn_1x",
    "_fpn_20e": "_fpn_1x",
    "_fpn_90k": "_fpn_1x",
    "_fpn_fp16_1x": "_fpn_1x",
    "_fp16_mstrain-608_273e": "_mstrain-608_273e",
    "_fpn_iou_1x": "_fpn_1x",
    "_fpn_giou_1x": "_fpn_1x",
    "_fpn_ciou_1x": "_fpn_1x",
    "_fpn_bounded_iou_1x": "_fpn_1x",
    "_fpn_ohem_1x": "_fpn_1x",
    "_fpn_soft_nms_1x": "_fpn_1x",
    "_fpn_tnr-pretrain_1x": "_fpn_1x",
    "_fpn_mstrain_90k": "_fpn_1x",
    "_fpn_1x8_1x": "_fpn_1x",
    "_fpn_mstrain_1x": "_fpn_1x",
    "_fpn_mstrain_2x": "_fpn_1x",
    "_fpn_mstrain_3x": "_fpn_1x",
    "_fpn_mstrain_640-800_3x": "_fpn_1x",
    "_fpn_gn-head_4x4_1x": "_fpn_gn-head_1x",
    "_caffe_fpn_gn-head_mstrain_640-800_2x": "_caffe_fpn_gn-head_1x",
    "_c4_mstrain_1x": "_c4_1x",
    "_dc5_mstrain_1x": "_dc5_1x",
    "_dc5_mstrain_3x": "_dc5_1x",
    "_fpn_1x_wandb": "_fpn_1x",
    "_fpn_gn-all_3x": "_fpn_gn-all_2x",
    "_fpn_gn-all_contrib_2x": "_fpn_gn-all_2x",
    "_fpn_gn-all_contrib_3x": "_fpn_gn-all_2x",
    "_fpn_mocov2-pretrain_1x": "_fpn_swav-pretrain_1x",
    "_fpn_mocov2-pretrain_ms-2x": "_fpn_swav-pretrain_1x",
    "_fpn_swav-pretrain_ms-2x": "_fpn_swav-pretrain_1x",
    "_fpn_poly_1x": "_fpn_1x",
    "_fpn_mstrain-poly_1x": "_fpn_1x",
    "_fpn_mstrain-poly_2x": "_fpn_1x",
    "_fpn_mstrain-poly_3x": "_fpn_1x",
}
# Of other folders, on networks of ours: what changes training alone, and data sets with other numbers of classes.
ELSEWHERE = (
    "albu_example/mask", "cascade_rpn/crpn_fast_", "cityscapes/faster", "cityscapes/mask", "deepfashion/mask",
    "dynamic_rcnn/", "guided_anchoring/ga_fast_", "instaboost/", "legacy_1.x/cascade_mask", "legacy_1.x/faster",
    "legacy_1.x/mask", "lvis/", "openimages/faster", "pascal_voc/faster", "pisa/pisa_faster", "pisa/pisa_mask",
    "resnet_strikes_back/cascade", "resnet_strikes_back/faster", "resnet_strikes_back/mask",
)  # fmt: skip
PLAIN_NORMS = r"gcnet/\w+_fpn_syncbn-backbone_1x"  # without global context blocks
DATA = {
    "_cityscapes": 8, "_deepfashion": 15, "_lvis_v1": 1203, "_lvis_v0.5": 1230, "_voc0712": 20,
    "_openimages_challenge": 500, "_openimages.": 601,
}  # fmt: skip
UPSTREAM = {v.row.upstream: name for name, v in variants().items() if v.row.upstream}


def variant_of(config: str) -> str:
    """The variant with the network of a configuration."""
    config = next((config.replace(suffix, "") for suffix in CLASSES if suffix in config), config)
    if config in UPSTREAM:
        return UPSTREAM[config]
    other, own = next((o, n) for o, n in SAME_NETWORK.items() if re.search(rf"{o}_coco(_v1)?\.py", config))
    return UPSTREAM[config.replace(other, own).replace("_v1", "")]


@pytest.fixture(scope="module")
def table(shared: Callable[[str], Path]) -> Any:
    with gzip.open(shared("parity/state_dicts.json.gz")) as file:
        return json.load(file)


def configs(table: Any) -> dict[str, Any]:
    ours = {k: v for k, v in table["configs"].items() if k.startswith(FAMILIES.get(v["type"], "-"))}
    return {k: v for k, v in ours.items() if not any(other in k for other in OTHERS)}


def size(value: Value) -> int:
    return math.prod(d.constant or 0 for d in value.shape)


def learns(value: Value, key: str) -> bool:
    return bool(value.node.attributes[key])


def check(graph: Graph, expected: Any, state: Any) -> None:
    ours = {n: [d.constant for d in v.shape] for n, v in graph.params.items()}
    again = {n: s for n, s in state if n not in ours and ours.get(re.sub(r"_branches\.\d", "_branches.0", n)) == s}
    assert {**ours, **again} == {n: s for n, s in state}  # `again`: layers that share weights, which are counted once
    assert sum(size(v) for v in graph.params.values() if not learns(v, "buffer")) == expected["parameters"]
    assert sum(size(v) for v in graph.params.values() if learns(v, "trainable")) == expected["trainable"]


def test_every_configuration_has_its_variant(table: Any) -> None:
    found = configs(table)
    assert len(found) == 186
    assert {variant_of(c) for c in found} == set(UPSTREAM.values())


@pytest.mark.parametrize("name", UPSTREAM.values())
def test_parameters_equal_the_reference(name: str, table: Any) -> None:
    mine = {c: row for c, row in configs(table).items() if variant_of(c) == name}
    assert mine, name
    graphs = {}
    for config, row in mine.items():
        classes = next((n for suffix, n in CLASSES.items() if suffix in config), None)
        if classes not in graphs:
            graphs[classes] = trace(get(name).with_arguments(**({"num_classes": classes} if classes else {})), "train")
        check(graphs[classes], row, table["states"][row["state"]])


def elsewhere(table: Any) -> dict[tuple[str, int | None], list[str]]:
    """Configurations of other folders by the variant whose network they train, and its number of classes."""
    found: dict[tuple[str, int | None], list[str]] = {}
    for config in table["configs"]:
        if config.startswith(ELSEWHERE) or re.match(PLAIN_NORMS, config):
            named = config.replace("dynamic_rcnn", "faster_rcnn")
            family = re.search(r"(cascade_mask|cascade|mask|faster|fast)_(rcnn|r50)", named)
            body = re.search(r"(r50|r101|x101_32x4d|x101_64x4d)(_caffe)?", config)
            assert family, config
            assert body, config
            name = f"{family[1]}_rcnn_{body[0]}" + "_c4" * ("_c4_" in config)
            classes = next((n for words, n in DATA.items() if words in config), None)
            found.setdefault((name, classes), []).append(config)
    return found


@pytest.mark.slow
def test_configurations_of_other_folders(table: Any) -> None:
    found = elsewhere(table)
    assert sum(map(len, found.values())) == 42
    for (name, classes), mine in found.items():
        graph = trace(get(name).with_arguments(**({"num_classes": classes} if classes else {})), "train")
        for config in mine:
            row = table["configs"][config]
            check(graph, row, table["states"][row["state"]])


@pytest.mark.parametrize("name", UPSTREAM.values())
def test_both_phases_have_the_same_parameters(name: str) -> None:
    assert list(trace(get(name), "infer").params) == list(trace(get(name), "train").params)
