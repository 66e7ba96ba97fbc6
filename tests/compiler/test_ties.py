"""What rounding decides is no fault of an engine; everything else still is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from graphdet import compiler, ops
from graphdet.errors import ParityFailure
from graphdet.ir import Detector, Graph, Image, detector, row
from graphdet.ir.graph import Node
from graphdet.ir.op import OPS
from graphdet.ir.walk import Builder, rebuild
from tests.compiler import tiny

SERVING = ("openvino", "onnxruntime", "onnx", "torch")


@detector({"tied": row(tiny.SMALL, classes=tiny.CLASSES)})
def tied(image: Image) -> Detector:
    """A cell counts where seven times a number exceeds the number seven times added: rounding alone says where."""
    fine = tiny.levels(image)[0]
    number = ops.reshape(ops.transpose(fine, order=(0, 2, 3, 1)), shape=(fine.dim(0), fine.dim(2) * fine.dim(3), 4))
    added = number
    for _ in range(6):
        added = added + number
    peak = ops.best(number * 7.0) > ops.best(added)
    score = ops.as_scores(ops.where(peak, ops.sigmoid(ops.best(number)), 0.0))
    points = ops.point_grid(fine, stride=fine.stride)
    boxes = ops.decode_points(points, number * 0.0 + 1.0)
    return tiny.found(boxes, score, ops.best_index(number[:, :, :3]), image)


TIED = tied.variants["tied"]


def turned(graph: Graph) -> Graph:
    """The graph with every comparison the other way round."""

    def visit(node: Node, builder: Builder) -> None:
        if node.name != "greater":
            builder.put(node)
            return
        operands = tuple(v and builder.get(v) for v in node.inputs)
        made = Node.make(OPS["less"], operands, {}, (node.outputs[0].type,), node.places, node.scope)
        builder.nodes.append(made)
        builder.now[node.outputs[0]] = made.outputs[0]

    return rebuild(graph, visit)


@pytest.mark.parametrize("target", SERVING)
@pytest.mark.parametrize("batch", [1, 3])
def test_other_sides_of_ties_are_right_too(monkeypatch: pytest.MonkeyPatch, target: str, batch: int) -> None:
    """A weight that is wrong in its last bits turns many of the ties: the engine finds other objects."""
    tiny.sabotage(monkeypatch, tiny.spoil_weight("body.fine", 1e-5))
    facts = compiler.compile(TIED, tiny.weights(TIED), target, batch=batch).header.certificate
    assert facts["followed"] == 1
    assert 0 < facts["max_error"] < 1e-4
    assert facts["detections_compared"] > 0


def test_sound_engines_are_not_followed() -> None:
    variant = tiny.DETECTORS["dots"]
    assert compiler.compile(variant, tiny.weights(variant), "onnxruntime").header.certificate["followed"] == 0


@pytest.mark.parametrize("change", [tiny.spoil_weight("body.fine", 0.1), turned], ids=["weight", "comparison"])
@pytest.mark.parametrize("target", SERVING)
def test_faults_are_not_ties(monkeypatch: pytest.MonkeyPatch, target: str, change: Callable[[Graph], Graph]) -> None:
    tiny.sabotage(monkeypatch, change)
    with pytest.raises(ParityFailure):
        compiler.compile(TIED, tiny.weights(TIED), target)
