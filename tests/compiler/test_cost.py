"""Costs against published figures, and their sums."""

from __future__ import annotations

import pytest

from graphdet import ops, zoo
from graphdet.compiler.cost import by_scope, cost, count_parameters, critical_path, total
from graphdet.errors import UnknownName
from graphdet.ir import parameter, scope, tensor, trace, tracing
from graphdet.ir.trace import graph_input


@pytest.mark.parametrize(
    ("name", "size", "millions", "billions"),
    [
        ("yolox_s", (640, 640), 8.97, 26.8 / 2),  # the YOLOX paper counts a multiply-add as two
        ("yolox_tiny", (416, 416), 5.06, 6.45 / 2),
        ("yolox_nano", (416, 416), 0.91, 1.08 / 2),
        ("retinanet_r50", (800, 1280), 37.97, 239.32),  # MMDetection's own counter, for 80 classes
    ],
)
def test_published_figures(name: str, size: tuple[int, int], millions: float, billions: float) -> None:
    graph = trace(zoo.get(name))
    found = total(cost(graph, {"N": 1, "H": size[0], "W": size[1]}))
    assert count_parameters(graph) / 1e6 == pytest.approx(millions, rel=0.005)
    assert found / 1e9 == pytest.approx(billions, rel=0.01)


def test_one_convolution_by_hand() -> None:
    with tracing("one") as opened:
        x = graph_input("pixels", tensor("f32", 2, 3, 8, 8))
        with scope("a.b"):
            y = ops.conv2d(x, parameter("weight", 4, 3, 3, 3), None, stride=2, padding=1)
        y = ops.relu(y)
    records = cost(opened.graph({"y": y}), {})
    assert [(r.node.name, r.multiply_adds, r.bytes) for r in records] == [
        ("input", 0, 4 * 2 * 3 * 64),
        ("param", 0, 4 * 4 * 27),
        ("conv2d", 2 * 4 * 16 * 27, 4 * 2 * 4 * 16),
        ("relu", 128, 4 * 128),
    ]
    assert by_scope(records) == {"a": 3456, "": 128}
    assert by_scope(records, depth=2) == {"a.b": 3456, "": 128}


def test_cost_grows_with_the_batch() -> None:
    graph = trace(zoo.get("yolox_scenes"))
    one, two = (total(cost(graph, {"N": n, "H": 64, "W": 64})) for n in (1, 2))
    assert one < two <= 2 * one


def test_a_missing_size_is_named() -> None:
    with pytest.raises(UnknownName, match="no size is given for H, W"):
        cost(trace(zoo.get("yolox_scenes")), {"N": 1})


def test_critical_path_is_the_dearest_chain() -> None:
    with tracing("fork") as opened:
        x = graph_input("pixels", tensor("f32", 1, 4, 8, 8))
        cheap = ops.relu(x)
        dear = ops.conv2d(x, parameter("weight", 4, 4, 3, 3), None, padding=1)
        y = ops.relu(cheap + dear)
    path = critical_path(cost(opened.graph({"y": y}), {}))
    assert [c.node.name for c in path[-3:]] == ["conv2d", "add", "relu"]
    assert cheap.node not in {c.node for c in path}
