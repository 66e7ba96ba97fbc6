"""Every pass of the pipeline: what it promises, on small detectors of each family, with open and with fixed sizes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from graphdet import ops, zoo
from graphdet.blocks.conv import batch_norm, conv
from graphdet.compiler.backends.numpy import execute
from graphdet.compiler.context import Context
from graphdet.compiler.driver import bound_sizes, optimise
from graphdet.compiler.pipeline import OPTIMISE
from graphdet.errors import BadInput, PassFailure
from graphdet.eval.parity import Objects, unmatched
from graphdet.ir import Graph
from graphdet.ir.check import verify
from graphdet.ir.detector import trace
from graphdet.ir.initial import initial_values
from graphdet.ir.text import to_text
from graphdet.ir.trace import graph_input
from graphdet.ir.types import boxes, tensor
from tests.compiler import snippets, tiny

VARIANTS = {**tiny.DETECTORS, "yolox_scenes": zoo.get("yolox_scenes"), "retinanet_r18": zoo.get("retinanet_r18")}
QUICK = ("dots", "anchored")
SIZES: dict[str, dict[str, int]] = {"open": {}, "fixed": {"N": 2, "H": 64, "W": 96}}


def run(name: str, graph: Graph, context: Context) -> Graph:
    """One pass."""
    result: Graph = import_module(f"graphdet.compiler.passes.{name}").run(graph, context)
    return result


@cache
def stages(variant: str, sizes: str) -> tuple[Context, list[Graph]]:
    """The graph before each pass, and after the last."""
    source = VARIANTS[variant]
    graph = trace(source)
    context = Context(tiny.weights(source, gain=1.4 if variant.startswith("yolox") else 1.0), SIZES[sizes])
    graphs = [graph]
    for name in OPTIMISE:
        graphs.append(run(name, graphs[-1], context))
    return context, graphs


@cache
def numbers(variant: str, sizes: str, stage: int) -> dict[str, Any]:
    """Outputs of the graph at a stage, by the references, on random inputs."""
    context, graphs = stages(variant, sizes)
    graph = graphs[stage]
    found = execute(graph, tiny.inputs(), context.params)
    return {name: found[value] for name, value in graph.outputs.items()}


@pytest.mark.parametrize("name", dict.fromkeys(OPTIMISE))
def test_docstring_is_an_arrow(name: str) -> None:
    assert " => " in (import_module(f"graphdet.compiler.passes.{name}").__doc__ or "").split("\n")[0]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_keeps_the_interface_and_verifies(variant: str, sizes: str) -> None:
    _, graphs = stages(variant, sizes)
    for before, after in pairwise(graphs):
        verify(after)
        assert list(after.inputs) == list(before.inputs)
        assert list(after.outputs) == list(before.outputs)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_is_idempotent(variant: str, sizes: str) -> None:
    context, graphs = stages(variant, sizes)
    for name, after in zip(OPTIMISE, graphs[1:], strict=True):
        assert run(name, after, context).hash == after.hash, name


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("variant", [v if v in QUICK else pytest.param(v, marks=pytest.mark.slow) for v in VARIANTS])
def test_keeps_the_numbers(variant: str, sizes: str) -> None:
    for stage, name in enumerate(OPTIMISE):
        before, after = numbers(variant, sizes, stage), numbers(variant, sizes, stage + 1)
        for i in range(len(before["count"])):
            a, b = Objects.of(before, i), Objects.of(after, i)
            assert len(a.scores) == len(b.scores) > 0, name
            for left, right in ((a, b), (b, a)):
                assert not unmatched(left, right, score_threshold=0.0, iou_threshold=0.5), name


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_pipeline_does_what_it_is_for(variant: str, sizes: str) -> None:
    """No parameter, no batch norm, no symbol that has a size; the same result when it runs again."""
    context, graphs = stages(variant, sizes)
    last = graphs[-1]
    assert not {"param", "batch_norm"} & {n.name for n in last}
    assert not set(last.symbols) & set(SIZES[sizes])
    assert optimise(last, context.params, SIZES[sizes]).graph.hash == last.hash


@pytest.mark.parametrize("name", dict.fromkeys(OPTIMISE))
def test_golden(name: str, golden: Callable[[str, str], None]) -> None:
    build, earlier, sizes = snippets.SNIPPETS[name]
    graph = snippets.graph_of(build)
    context = Context(tiny.fill(graph), sizes)
    for first in earlier:
        graph = run(first, graph, context)
    after = run(name, graph, context)
    golden(
        f"ir/{name}.txt", f"{to_text(graph, places=False).strip()}\n\n=>\n\n{to_text(after, places=False).strip()}\n"
    )


def records(build: Callable[[], dict[str, Any]]) -> dict[str, list[str]]:
    """Reasons of refusals by pass, after a whole pipeline."""
    graph = snippets.graph_of(build)
    explained = optimise(graph, initial_values(graph), {})
    return {r.name: [reason for reason, _, _ in r.refusals] for r in explained.passes if r.refusals}


def test_a_convolution_that_is_used_twice_is_not_fused() -> None:
    def used_twice() -> dict[str, Any]:
        mapped = conv("conv", snippets.whole(), 3, bias=False)
        return {"y": batch_norm("bn", mapped) + mapped}

    assert records(used_twice)["fuse_conv_norm"] == ["the convolution's result is used elsewhere too"]


def test_a_convolution_that_is_an_output_is_not_fused() -> None:
    def shown() -> dict[str, Any]:
        mapped = conv("conv", snippets.whole(), 3, bias=False)
        return {"y": batch_norm("bn", mapped), "z": mapped}

    assert records(shown)["fuse_conv_norm"] == ["the convolution's result is used elsewhere too"]


def test_a_norm_without_convolution_is_not_fused() -> None:
    assert records(lambda: {"y": batch_norm("bn", ops.relu(snippets.whole()))})["fuse_conv_norm"] == [
        "a relu stands before the norm, not a conv2d"
    ]


def test_a_norm_whose_numbers_are_unknown_is_not_fused() -> None:
    graph = snippets.graph_of(snippets.one_conv)
    explained = optimise(graph, {}, {}, passes=("fuse_conv_norm",))
    assert [r[0] for r in explained.passes[0].refusals] == ["weights or statistics are not known at compile time"]
    assert explained.graph.hash == graph.hash


def test_scores_of_another_origin_are_not_delayed() -> None:
    def product() -> dict[str, Any]:
        x = ops.sigmoid(snippets.whole("logits"))
        return {"y": ops.best(x * x)}

    assert records(product)["delay_squash"] == ["the scores do not come from a sigmoid"]


def test_rows_that_are_needed_elsewhere_are_not_gathered_first() -> None:
    def shared_rows() -> dict[str, Any]:
        decoded = ops.decode_deltas(graph_input("a", boxes("net", 6, 4)), graph_input("d", tensor("f32", 2, 6, 4)))
        picked = ops.gather_rows(decoded, graph_input("i", tensor("i64", 2, 3)))
        return {"y": picked, "z": decoded * 1.0}

    assert records(shared_rows)["gather_first"] == ["all rows are needed elsewhere too"]


def test_operands_with_other_rows_are_not_gathered_first() -> None:
    def broadcast() -> dict[str, Any]:
        x = graph_input("a", tensor("f32", 2, 6, 4)) + graph_input("b", tensor("f32", 2, 1, 4))
        return {"y": ops.gather_rows(x, graph_input("i", tensor("i64", 2, 3)))}

    assert records(broadcast)["gather_first"] == ["an operand of add has other rows"]


def test_refusals_name_the_declaring_line_and_are_counted() -> None:
    def several() -> dict[str, Any]:
        return {f"y{i}": batch_norm(f"bn{i}", ops.relu(snippets.whole())) for i in range(1)}

    graph = snippets.graph_of(several)
    (refusal,) = next(r for r in optimise(graph, initial_values(graph), {}).passes if r.refusals).refusals
    _, line, count = refusal
    assert "test_every_pass.py:" in line
    assert count == 1


def test_sizes_that_do_not_divide_are_refused() -> None:
    graph = trace(tiny.DETECTORS["dots"])
    with pytest.raises(BadInput, match="H = 72 is not a positive multiple of 16") as caught:
        optimise(graph, tiny.fill(graph), {"H": 72})
    assert caught.value.help in ("take 64", "take 80")


def test_a_pass_that_breaks_the_graph_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of a pass is told as such: here one that drops what is needed."""
    graph = trace(tiny.DETECTORS["dots"])
    params = tiny.fill(graph)

    def careless(graph: Graph, _: Context) -> Graph:
        return Graph(graph.name, graph.phase, graph.nodes[:-1], graph.outputs)

    def greedy(graph: Graph, _: Context) -> Graph:
        return Graph(graph.name, graph.phase, graph.nodes, {"boxes": graph.outputs["boxes"]})

    monkeypatch.setattr("graphdet.compiler.passes.drop_dead.run", careless)
    with pytest.raises(PassFailure, match="pass drop_dead broke dots"):
        optimise(graph, params, {})
    monkeypatch.setattr("graphdet.compiler.passes.drop_dead.run", greedy)
    with pytest.raises(PassFailure, match="changed the inputs or outputs"):
        optimise(graph, params, {})


def test_bound_sizes() -> None:
    assert bound_sizes((64, 96), None) == {"H": 64, "W": 96}
    assert bound_sizes(None, 2) == {"N": 2}


def test_numbers_that_an_open_size_decides_are_not_folded() -> None:
    """The size of a map has two elements whatever the map's size, and is no constant while that is open."""
    graph = snippets.graph_of(lambda: {"size": ops.map_size(snippets.whole())})
    x = np.zeros((1, 2, 16, 24), np.float32)
    for sizes in ({}, {"N": 1}, {"H": 16, "W": 24}, {"N": 1, "H": 16, "W": 24}):
        made = optimise(graph, {}, sizes).graph
        assert execute(made, {"x": x}, {})[made.outputs["size"]].tolist() == [24, 16]
        assert (made.outputs["size"].node.name == "const") == ("H" in sizes)
