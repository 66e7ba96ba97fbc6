"""Artefacts whose plans use every native op, on the tiny network of tests/runtime/tiny.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from graphdet.records import Array
from graphdet.runtime import Artefact
from graphdet.runtime.artefact import pack_arrays
from graphdet.runtime.header import Input, NativeStep, Plan
from tests.runtime.tiny import artefact, header, plan

NMS = ("v0", "v1", "v2", "score_threshold", "iou_threshold")
FAMILY: dict[str, NativeStep] = {
    "nms": NativeStep("nms", NMS, (), {"keep": 2, "agnostic": True}),
    "soft_linear": NativeStep("soft_nms", NMS, (), {"decay": "linear"}),
    "soft_gaussian": NativeStep("soft_nms", NMS, (), {"decay": "gaussian", "sigma": 0.4, "keep": 3, "agnostic": True}),
    "matrix": NativeStep("matrix_nms", NMS[:4], (), {"decay": "linear", "agnostic": False}),
    "fast": NativeStep("fast_nms", NMS, (), {"keep": 0}),
}


def with_suppression(step: NativeStep) -> Artefact:
    """The tiny plan with `step` in place of its NMS."""
    first, _, last = plan().steps
    steps = (first, replace(step, outputs=("v3", "v4", "v5", "v6")), last)
    return artefact(target="openvino", plan=replace(plan(), steps=steps))


def with_all_ops() -> Artefact:
    """A chain through all other native ops; those whose results cannot become boxes are run for nothing."""
    rng = np.random.default_rng(0)
    constants: dict[str, Array] = {
        "anchors": np.array([[4, 4, 20, 24], [10, 2, 50, 30], [0, 0, 64, 64]], np.float32),
        "points": np.array([[8, 8, 4, 4], [24, 8, 8, 8], [32, 40, 16, 16]], np.float32),
        "small": np.full((1, 1, 4), 0.01, np.float32),
        "rois": np.array([[0, 1, 2, 30, 20], [0, 5, 5, 6, 50]], np.float32),
        "masks": rng.uniform(size=(1, 5, 7, 7)).astype(np.float32),
        "filters": rng.normal(size=(2, 3, 1, 1)).astype(np.float32),
        "moves": rng.uniform(-3, 3, (1, 2, 8, 6)).astype(np.float32),
        "kernels": rng.random((1, 9, 16, 12), dtype=np.float32),
        "mask": rng.normal(size=(1, 8, 6)).astype(np.float32),
        "map": rng.normal(size=(1, 3, 8, 6)).astype(np.float32),
        "cells": rng.normal(size=(1, 48, 2, 5)).astype(np.float32),
        "places": rng.uniform(-0.1, 1.1, (1, 4, 2, 1, 3, 2)).astype(np.float32),
        "weights": rng.normal(size=(1, 4, 2, 1, 3)).astype(np.float32),
    }
    rows: list[tuple[str, tuple[str | None, ...], tuple[str, ...], dict[str, Any]]] = [
        ("clip_boxes", ("v0", "size"), ("a0",), {}),
        ("pairwise_iou", ("a0", "v0"), ("a1",), {"generalised": True}),
        ("sigmoid", ("a1",), ("a2",), {}),
        ("mul", ("a2", "a1"), ("a3",), {}),
        ("select_top", ("a3", "score_threshold"), ("t0", "t1", "t2"), {"k": 5}),
        ("select_top", ("a1", "score_threshold"), ("t3", "t4", "t5"), {"k": 4, "activation": "sigmoid"}),
        ("mul", ("v0", "small"), ("d0",), {}),
        (
            "decode_deltas",
            ("anchors", "d0"),
            ("d1",),
            {"means": [0, 0.1, 0, 0], "stds": [1, 1, 0.5, 2], "max_ratio": 0.1},
        ),
        ("decode_points", ("points", "d0"), ("d2",), {}),
        ("decode_distances", ("points", "d0"), ("d4",), {}),
        ("concat", ("d1", "d2"), ("d3",), {"axis": 1}),
        ("gather_rows", ("d3", "t2"), ("g",), {}),
        ("gather", ("t0", "t2"), ("g1",), {}),
        (
            "nms",
            ("g", "t0", "t1", "score_threshold", "iou_threshold"),
            ("n0", "n1", "n2", "n3"),
            {"keep": 0, "agnostic": False},
        ),
        ("roi_align", ("pixels", "rois"), ("r0",), {"size": [3, 4], "scale": 0.5, "samples": 2, "aligned": False}),
        ("roi_pool", ("pixels", "rois"), ("r1",), {"size": [3, 4], "scale": 1}),
        ("cut_padding", ("n0", "n2", "n3"), ("c0", "c1"), {"steps": [2, 100]}),
        ("roi_align_levels", ("n0", "n3", "pixels", None), ("r2",), {"strides": [1], "size": [2, 2], "finest": 3}),
        ("paste_masks", ("masks", "n0", "n3"), ("r3",), {"height": 40, "width": 50, "threshold": 0.4}),
        ("deform_conv2d", ("map", "filters", "moves", None, None), ("r4",), {"stride": 1, "padding": 0}),
        ("carafe", ("map", "kernels"), ("r6",), {"size": 3, "groups": 1, "scale": 2}),
        ("corner_pool", ("map",), ("r7",), {"side": "left"}),
        ("masked_conv2d", ("map", "filters", "mask", None), ("r8",), {"stride": 1}),
        ("deform_attention", ("cells", "places", "weights", "map"), ("r5",), {}),
        ("to_image", ("n0", "geometry"), ("b",), {}),
    ]
    steps = [NativeStep(op, inputs, outputs, attrs) for op, inputs, outputs, attrs in rows]
    outputs = {"boxes": "b", "scores": "n1", "labels": "n2", "count": "n3"}
    whole = header(
        target="openvino", input=Input(1, None), plan=Plan((plan().steps[0], *steps), outputs), thresholds=THRESHOLDS
    )
    return Artefact(whole, {**artefact().blobs, "constants": pack_arrays(constants)})


THRESHOLDS = {"score_threshold": 0.05, "iou_threshold": 0.9}
