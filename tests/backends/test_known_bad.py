"""Faults of backends that the compiler works around: when one of these tests fails, the backend is mended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphdet import ops
from graphdet.compiler.backends.numpy.execute import execute, op_graph
from graphdet.compiler.backends.onnx.emit import emit, to_bytes
from graphdet.compiler.backends.target import find_target
from graphdet.compiler.known_bad import TABLE, KnownBad, faults
from graphdet.compiler.passes.partition import partition
from graphdet.errors import NotLowerable
from graphdet.ir.op import OPS, op
from graphdet.records import Array
from graphdet.runtime.adapters import open_segment
from graphdet.runtime.header import NativeStep
from tests.ops.test_onnx_cases import standard_cases, to_array

OPENVINO = find_target("openvino")


def differs(name: str, operator: str) -> None:
    """A case of the standard that openvino computes otherwise, or gives another shape."""
    case = next(c for c in standard_cases()[operator] if c.name == name)
    inputs, outputs = ([to_array(x) for x in arrays] for arrays in case.data_sets[0])
    names = [value.name for value in case.model.graph.input]
    found = open_segment("openvino", case.model.SerializeToString(), threads=1).run(
        dict(zip(names, inputs, strict=True))
    )
    same = [f.shape == e.shape and np.allclose(f, e, rtol=1e-3, atol=1e-4) for f, e in zip(found, outputs, strict=True)]
    assert not all(same), f"openvino computes {name} as the standard says: the row of {operator} can go"


def refuses() -> None:
    case = standard_cases()["DeformConv"][0]
    with pytest.raises(Exception, match="DeformConv"):
        open_segment("openvino", case.model.SerializeToString(), threads=1)


def crashes() -> None:
    """In a process of its own."""
    code = """
import numpy as np
from graphdet import ops
from graphdet.compiler.backends.numpy.execute import op_graph
from graphdet.compiler.backends.onnx.emit import emit, to_bytes
from graphdet.runtime.adapters import open_segment
graph, arrays = op_graph(ops.roi_align, (np.ones((1, 2, 8, 8), np.float32), np.zeros((0, 5), np.float32)), {})
open_segment("openvino", to_bytes(emit(graph, {})), threads=1).run(arrays)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode < 0, "openvino runs RoiAlign without RoIs: the row can go"


REPRODUCERS: dict[tuple[str, str], Callable[[], None]] = {
    ("DeformConv", ""): refuses,
    ("NonMaxSuppression", ""): lambda: differs("test_nonmaxsuppression_iou_threshold_boundary", "NonMaxSuppression"),
    ("Resize", "antialias=1"): lambda: differs("test_resize_downsample_scales_linear_antialias", "Resize"),
    ("Resize", "exclude_outside=1"): lambda: differs(
        "test_resize_upsample_scales_cubic_A_n0p5_exclude_outside", "Resize"
    ),
    ("Resize", "keep_aspect_ratio_policy"): lambda: differs("test_resize_upsample_sizes_nearest_not_larger", "Resize"),
    ("RoiAlign", "no RoIs, known when it is compiled"): crashes,
    ("RoiAlign", "mode=max"): lambda: differs("test_roialign_mode_max", "RoiAlign"),
    ("TopK", ""): lambda: differs("test_top_k_same_values", "TopK"),
}


@pytest.mark.parametrize("row", [r for r in TABLE if not r.source], ids=lambda r: f"{r.operator}-{r.condition}")
def test_fault_is_still_there(row: KnownBad) -> None:
    pytest.importorskip("openvino")
    REPRODUCERS[row.operator, row.condition]()


def test_openvino_drops_inputs_that_nothing_reads() -> None:
    """The adapter gives the model only what it kept."""
    ov = pytest.importorskip("openvino")
    level = np.zeros((1, 2, 3, 4), np.float32)
    graph, arrays = op_graph(ops.point_grid, (level,), {"stride": 8})
    model = to_bytes(emit(graph, {}))
    core = ov.Core()
    compiled = core.compile_model(core.read_model(model), "CPU")
    assert not compiled.inputs, "openvino keeps unused inputs: the adapter need not drop them"
    (found,) = open_segment("openvino", model, threads=1).run(arrays)
    np.testing.assert_array_equal(found, next(iter(execute(graph, arrays, {}).values())))


def empty_rois() -> tuple[Any, dict[str, Array]]:
    return op_graph(ops.roi_align, (np.ones((1, 2, 8, 8), np.float32), np.zeros((0, 5), np.float32)), {})


def test_such_a_node_runs_on_its_kernel() -> None:
    graph, _ = empty_rois()
    (row,) = faults(graph, OPENVINO).values()
    assert row.operator == "RoiAlign"
    (step,) = partition(graph, OPENVINO).steps
    assert isinstance(step, NativeStep)
    assert step.op == "roi_align"
    assert not faults(graph, find_target("onnxruntime"))
    some, _ = op_graph(ops.roi_align, (np.ones((1, 2, 8, 8), np.float32), np.zeros((1, 5), np.float32)), {})
    assert not faults(some, OPENVINO)


def test_such_a_node_without_kernel_is_decomposed_or_refused() -> None:
    @op("f[N] -> f[N]", name="faulty")
    def faulty(x: Any) -> Any:
        """For this test."""

    try:
        faulty.onnx(lambda e, x: e.Resize(x, antialias=1))
        graph, _ = op_graph(faulty, (np.zeros(3, np.float32),), {})
        with pytest.raises(NotLowerable, match="faulty: Resize with antialias=1 on openvino"):
            partition(graph, OPENVINO)
        faulty.decompose(lambda x: ops.relu(x))
        assert {n.name for n in partition(graph, OPENVINO).graph} >= {"relu"}
    finally:
        del OPS["faulty"]
