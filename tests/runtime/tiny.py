"""A tiny artefact for tests: boxes are fixed parts of the image, scores follow its brightest pixel.

Three candidates, as parts (x1, y1, x2, y2) of the unpadded image: two that overlap almost wholly, one that reaches
outside. Both need no padding to be right, so every batch and size rule can be checked by hand.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from graphdet.records import Array, Preprocess
from graphdet.runtime import Artefact
from graphdet.runtime.artefact import pack_arrays
from graphdet.runtime.header import Given, Header, Input, NativeStep, Plan, SegmentStep

PARTS = np.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.52], [0.5, 0.5, 1.25, 1.5]], np.float32)
WEIGHTS = np.array([[1.0, 0.75, 0.5]], np.float32)


def segment() -> bytes:
    """ONNX bytes: pixels f32[N 3 H W], size f32[N 2] -> v0 boxes f32[N 3 4], v1 scores f32[N 3], v2 labels i64[N 3]."""
    to_boxes = np.zeros((2, 3, 4), np.float32)
    to_boxes[1, :, 0::2] = PARTS[:, 0::2]  # x from the width
    to_boxes[0, :, 1::2] = PARTS[:, 1::2]  # y from the height
    constants: dict[str, Array] = {
        "matrix": to_boxes.reshape(2, 12),
        "shape": np.array([-1, 3, 4], np.int64),
        "weights": WEIGHTS,
        "classes": np.array([[0, 0, 1]], np.int64),
        "zero": np.zeros((), np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["size", "matrix"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["v0"]),
        helper.make_node("ReduceMax", ["pixels"], ["peak"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["peak", "one"], ["column"]),
        helper.make_node("Mul", ["column", "weights"], ["v1"]),
        helper.make_node("Mul", ["v1", "zero"], ["nothing"]),
        helper.make_node("Cast", ["nothing"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["whole", "classes"], ["v2"]),
    ]
    constants["one"] = np.array([1], np.int64)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 3, "H", "W"]),
            helper.make_tensor_value_info("size", TensorProto.FLOAT, ["N", 2]),
        ],
        [
            helper.make_tensor_value_info("v0", TensorProto.FLOAT, ["N", 3, 4]),
            helper.make_tensor_value_info("v1", TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info("v2", TensorProto.INT64, ["N", 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def external(location: str, *, nested: bool) -> bytes:
    """ONNX bytes of x + w, where the data of w f32[4] lie in another file; `nested` puts w into an If branch."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xyz")
    add = helper.make_node("Add", ["x", "w"], ["y"])
    if not nested:
        graph = helper.make_graph([add], "outer", [x], [y], [weight])
    else:
        inner = helper.make_graph([helper.make_node("Constant", [], ["w"], value=weight), add], "inner", [], [y])
        choice = helper.make_node("If", ["yes"], ["z"], then_branch=inner, else_branch=inner)
        graph = helper.make_graph([choice], "outer", [x], [z], [numpy_helper.from_array(np.array(True), "yes")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    return bytes(model.SerializeToString())


def plan() -> Plan:
    """Dense segment, NMS, image frame."""
    return Plan(
        steps=(
            SegmentStep("dense0", ("pixels", "size"), ("v0", "v1", "v2")),
            NativeStep(
                op="nms",
                inputs=("v0", "v1", "v2", "score_threshold", "iou_threshold"),
                outputs=("v3", "v4", "v5", "v6"),
                attrs={"keep": 0, "agnostic": False},
                line="zoo/tiny.py:3",
            ),
            NativeStep("to_image", ("v3", "geometry"), ("v7",), line="zoo/tiny.py:4"),
        ),
        outputs={"boxes": "v7", "scores": "v4", "labels": "v5", "count": "v6"},
    )


def header(**changes: object) -> Header:
    """A header for `segment` and `plan`; fields may be replaced."""
    fields: dict[str, Any] = {
        "detector": "tiny",
        "target": "onnxruntime",
        "classes": ("part", "corner"),
        "preprocess": Preprocess(std=(255.0, 255.0, 255.0), size=(64, 64), divisor=32),
        "input": Input(),
        "thresholds": {"score_threshold": 0.1, "iou_threshold": 0.5},
        "plan": plan(),
    }
    return Header(**{**fields, **changes})


def with_masks(frame: str = "roi", **changes: object) -> Artefact:
    """The same with masks, for one image at a time: the first detection is a disc, the second its upper left half."""
    y, x = np.mgrid[-1:1:7j, -1:1:9j]
    disc = 1 / (1 + np.exp(9 * (x**2 + y**2 - 0.8)))
    grids = np.stack([disc, disc * (x + y < 0), 1 - disc]).astype(np.float32)[None]
    outputs = {**plan().outputs, "masks": "grids"}
    fields = {"input": Input(1, None), "plan": replace(plan(), outputs=outputs), "masks": frame, **changes}
    whole = artefact(**fields)
    return replace(whole, blobs={**whole.blobs, "constants": pack_arrays({"grids": grids})})


def given(target: str = "onnxruntime", batch: int | None = None) -> Artefact:
    """Up to three proposals an image, which are the detections: scores and labels are those of the parts."""
    rows = {"proposals.boxes": Given("f32", (3, 4), "boxes<xyxy,image>"), "proposals.count": Given("i64", ())}
    outputs = {"boxes": "proposals.boxes", "scores": "v1", "labels": "v2", "count": "proposals.count"}
    return artefact(target=target, input=Input(batch, None, given=rows), plan=Plan(plan().steps[:1], outputs))


def artefact(**changes: object) -> Artefact:
    """The whole artefact, in memory."""
    return Artefact(header(**changes), {"graph": b"tiny", "segment:dense0": segment()})
