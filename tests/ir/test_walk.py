"""Walking graphs: dead nodes, rebuilding, order, differences, sizes, and the structural hash."""

from __future__ import annotations

import random
from dataclasses import replace

from graphdet import ops
from graphdet.ir import Dim, Graph, Node, diff, tensor, tracing, verify
from graphdet.ir.trace import graph_input, parameter
from graphdet.ir.walk import Builder, cone, live, ordered, rebuild, substitute
from tests.ir.tiny import graph


def chain(*, scale: float = 2.0, name: str = "x", dead: bool = False) -> Graph:
    with tracing("mine") as opened:
        x = graph_input(name, tensor("f32", Dim.symbol("N"), 4))
        if dead:
            ops.exp(x)
            parameter("unused", 3)
        return opened.graph({"y": ops.relu(x * scale)})


def test_cone_holds_what_a_value_depends_on() -> None:
    made = chain(dead=True)
    assert [n.name for n in made.nodes if n in cone(made.outputs.values())] == ["input", "const", "mul", "relu"]


def test_live_drops_what_no_output_needs() -> None:
    made = chain(dead=True)
    assert [n.name for n in live(made)] == ["input", "const", "mul", "relu"]
    assert [n.name for n in live(made, keep_params=True)] == ["input", "param", "const", "mul", "relu"]
    assert live(live(made)).hash == live(made).hash == made.hash


def test_live_drops_taps_into_removed_parts() -> None:
    made = chain(dead=True)
    dead = next(n for n in made if n.name == "exp").outputs[0]
    tapped = replace(made, taps={"dead": dead, "alive": made.outputs["y"]})
    assert list(live(tapped).taps) == ["alive"]


def test_rebuild_without_changes_keeps_the_nodes() -> None:
    made = graph()

    def keep(node: Node, builder: Builder) -> None:
        builder.put(node)

    again = rebuild(made, keep)
    assert again.nodes == made.nodes
    assert again.hash == made.hash
    assert dict(again.taps) == dict(made.taps)


def test_rebuild_replaces_a_node_for_all_its_users() -> None:
    def drop_relu(node: Node, builder: Builder) -> None:
        if node.name == "relu" and node.inputs[0] is not None:
            builder.now[node.outputs[0]] = builder.get(node.inputs[0])
        else:
            builder.put(node)

    made = rebuild(graph(), drop_relu)
    verify(made)
    assert not any(n.name == "relu" for n in made)
    assert made.hash != graph().hash
    assert str(made.taps["stem"].node.op.name) == "batch_norm"


def test_ordered_restores_dependency_order() -> None:
    made = graph()
    nodes = list(made.nodes)
    random.Random(1).shuffle(nodes)
    again = ordered(replace(made, nodes=tuple(nodes)))
    verify(again)
    assert again.hash == made.hash
    assert ordered(made).nodes == made.nodes


def test_hash_is_stable_under_tracing_again() -> None:
    assert graph().hash == graph().hash
    assert graph("train").hash == graph("train").hash
    assert graph().hash != graph("train").hash
    assert chain().hash == chain(dead=True).hash


def test_hash_sees_attributes_constants_and_names() -> None:
    hashes = {chain().hash, chain(scale=3.0).hash, chain(name="z").hash, graph().hash, graph(name="tiny_wide").hash}
    assert len(hashes) == 5
    made = graph()
    at = next(i for i, n in enumerate(made.nodes) if n.name == "batch_norm")
    node = made.nodes[at]

    def change(old: Node, builder: Builder) -> None:
        if old is node:
            attributes = {**old.attributes, "eps": 1e-3}
            made = Node.make(
                old.op, tuple(v and builder.get(v) for v in old.inputs), attributes, (old.outputs[0].type,)
            )
            builder.nodes.append(made)
            builder.now[old.outputs[0]] = made.outputs[0]
        else:
            builder.put(old)

    assert rebuild(made, change).hash != made.hash


def test_hash_tells_the_results_of_one_node_apart() -> None:
    made = graph()
    swapped = replace(made, outputs={**made.outputs, "labels": made.outputs["count"], "count": made.outputs["labels"]})
    assert swapped.hash != made.hash


def test_diff_of_equal_graphs_is_empty() -> None:
    assert diff(graph(), graph()) == []


def test_diff_names_each_change_once() -> None:
    lines = diff(graph(), graph(name="tiny_wide"))
    assert any(line.startswith("- param") and "'stem.conv.weight'" in line for line in lines)
    assert any(line.startswith("+ param") and "'stem.conv.weight'" in line for line in lines)
    assert not any("nms" in line for line in lines)  # what follows a change is not a change
    assert diff(chain(scale=2.0), chain(scale=3.0))[0].startswith("- const")


def test_diff_finds_rewired_operands() -> None:
    def made(*, swapped: bool) -> Graph:
        with tracing("mine") as opened:
            a, b = (graph_input(k, tensor("f32", 4)) for k in "ab")
            return opened.graph({"y": b - a if swapped else a - b})

    lines = diff(made(swapped=False), made(swapped=True))
    assert len(lines) == 1
    assert lines[0].startswith("~ sub(f32[4], f32[4])")


def test_substitute_binds_sizes() -> None:
    made = substitute(graph(), {"N": 2, "H": 64, "W": 32})
    verify(made)
    assert made.symbols == {}
    assert str(made.inputs["pixels"].type) == "f32[2 3 64 32]"
    assert str(made.outputs["boxes"].type) == "boxes<xyxy,image> f32[2 32 4]"
    half = substitute(graph(), {"H": 64, "W": 64})
    verify(half)
    assert set(half.symbols) == {"N"}


def test_stride_of_a_value() -> None:
    assert graph().taps["stem"].stride == 8
    assert graph().inputs["pixels"].stride == 1


def test_uses_and_sizes() -> None:
    made = graph()
    stem = made.taps["stem"]
    assert [n.name for n, _ in made.uses[stem]].count("conv2d") == 2
    assert made.bytes_of_params() == sum(
        4 * p.type.dims[0].evaluate({}) * (27 if "stem.conv" in n else 1)
        for n, p in made.params.items()
        if n.startswith("stem") and p.type.dims
    ) + 4 + 4 * (3 * 36 + 3 + 16 + 4)
