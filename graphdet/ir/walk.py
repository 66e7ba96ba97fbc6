"""Walking and rebuilding graphs: dead nodes, substitution, cones, sizes spoken of, the difference of two graphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from graphdet.ir.dims import Dim, DimLike
from graphdet.ir.graph import Graph, Node, Value, attribute_text, node_hashes
from graphdet.ir.types import Type

LEAVES = ("input", "param", "const")  # nodes that compute nothing


def cone(values: Iterable[Value]) -> set[Node]:
    """All nodes that the values depend on, their own included."""
    found: set[Node] = set()
    stack = [v.node for v in values]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(v.node for v in node.inputs if v is not None)
    return found


def live(graph: Graph, *, keep_params: bool = False) -> Graph:
    """The graph without nodes that no output depends on; taps into removed parts are dropped."""
    needed = cone(graph.outputs.values())
    nodes = tuple(n for n in graph.nodes if n in needed or (keep_params and n.name == "param"))
    taps = {k: v for k, v in graph.taps.items() if v.node in needed}
    return replace(graph, nodes=nodes, taps=taps)


class Builder:
    """A new graph in the making, from the nodes of an old one. `put` copies a node with its operands replaced."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.now: dict[Value, Value] = {}

    def get(self, value: Value) -> Value:
        """What stands for an old value now."""
        return self.now.get(value, value)

    def put(self, node: Node, types: tuple[Type, ...] | None = None) -> Node:
        """Copy a node over, with new result types where given."""
        inputs = tuple(v and self.get(v) for v in node.inputs)
        before = tuple(v.type for v in node.outputs)
        if types is None and all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
            made = node
        else:
            made = Node.make(node.op, inputs, node.attributes, types or before, node.places, node.scope)
        self.nodes.append(made)
        for old, new in zip(node.outputs, made.outputs, strict=True):
            self.now[old] = new
        return made

    def finish(self, graph: Graph) -> Graph:
        """The rebuilt graph, with outputs and taps of the old one mapped over."""
        present = {v for n in self.nodes for v in n.outputs}
        outputs = {k: self.get(v) for k, v in graph.outputs.items()}
        taps = {k: self.get(v) for k, v in graph.taps.items() if self.get(v) in present}
        return Graph(graph.name, graph.phase, tuple(self.nodes), outputs, taps)


def rebuild(graph: Graph, visit: Callable[[Node, Builder], None]) -> Graph:
    """Visit each node in order; the visitor puts what shall stand in its place and maps its values in `builder.now`."""
    builder = Builder()
    for node in graph.nodes:
        visit(node, builder)
    return builder.finish(graph)


def ordered(graph: Graph) -> Graph:
    """The graph with nodes in dependency order (stable), for passes that append nodes late."""
    done: set[Node] = set()
    nodes: list[Node] = []
    for root in graph.nodes:
        stack: list[tuple[Node, bool]] = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if node in done:
                continue
            if ready:
                done.add(node)
                nodes.append(node)
                continue
            stack.append((node, True))
            stack.extend((v.node, False) for v in reversed(node.inputs) if v is not None)
    return replace(graph, nodes=tuple(nodes))


def diff(before: Graph, after: Graph) -> list[str]:
    """Lines that tell how two graphs differ: `- ` only in the first, `+ ` only in the second; empty when equal.

    Nodes are compared by structure, so that a change is reported once, not again for all that follows it.
    """
    left, right = _local_lines(before), _local_lines(after)
    lines = [f"- {text}" + (f"   (x{n})" if n > 1 else "") for text, n in (left - right).items()]
    lines += [f"+ {text}" + (f"   (x{n})" if n > 1 else "") for text, n in (right - left).items()]
    if not lines and before.hash != after.hash:
        lines = _rewired(before, after)
    return lines


def _local_lines(graph: Graph) -> Counter[str]:
    return Counter(describe(node) for node in graph.nodes)


def describe(node: Node) -> str:
    """A node by itself: op, attributes, operand and result types, without naming other nodes."""
    attributes = " ".join(f"{k}={attribute_text(v)}" for k, v in sorted(node.attributes.items()) if k != "type")
    operands = ", ".join("_" if v is None else str(v.type) for v in node.inputs)
    results = ", ".join(str(v.type) for v in node.outputs)
    return (
        f"{node.name}({operands}) {attributes} -> {results}" if attributes else f"{node.name}({operands}) -> {results}"
    )


def _rewired(before: Graph, after: Graph) -> list[str]:
    known = set(node_hashes(before).values())
    changed = [n for n, digest in node_hashes(after).items() if digest not in known]
    return [f"~ {describe(n)} at {n.place} takes other operands" for n in changed[:1]]


def substitute(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph at concrete sizes: symbols in types, and in attributes that hold dims, are replaced by numbers."""

    def visit(node: Node, builder: Builder) -> None:
        made = resized(node, tuple(v and builder.get(v) for v in node.inputs), sizes)
        builder.nodes.append(made)
        builder.now.update(zip(node.outputs, made.outputs, strict=True))

    return rebuild(graph, visit)


def resized(node: Node, inputs: tuple[Value | None, ...], sizes: Mapping[str, DimLike]) -> Node:
    """A copy of a node on other operands, with symbols in its types and attributes replaced by numbers or dims."""

    def bound(attribute: object) -> object:
        if isinstance(attribute, Dim):
            fixed = attribute.substitute(sizes)
            return fixed if fixed.constant is None else fixed.constant
        return tuple(bound(a) for a in attribute) if isinstance(attribute, tuple) else attribute

    types = tuple(v.type.substitute(sizes) for v in node.outputs)
    attributes = {k: bound(v) for k, v in node.attributes.items()}
    if node.name == "input":
        attributes["type"] = str(types[0])
    return Node.make(node.op, inputs, attributes, types, node.places, node.scope)


def attribute_dims(node: Node) -> list[Dim]:
    """The sizes that a node's attributes speak of."""

    def within(attribute: object) -> list[Dim]:
        if isinstance(attribute, tuple):
            return [d for a in attribute for d in within(a)]
        return [attribute] if isinstance(attribute, Dim) else []

    return [d for a in node.attributes.values() for d in within(a)]


def made_sizes(node: Node) -> set[str]:
    """Names of the sizes that neither operands nor attributes have: they depend on data."""
    if node.name in LEAVES:
        return set()
    given = {s.name for v in node.inputs if v is not None for d in v.type.dims for s in d.symbols}
    results = {s.name for v in node.outputs for d in v.type.dims for s in d.symbols}
    return results - given - {s.name for d in attribute_dims(node) for s in d.symbols} if results - given else set()


def dims_of(node: Node) -> list[Dim]:
    """All sizes that a node speaks of, in its attributes and in the types of its results."""
    return [*attribute_dims(node), *(d for v in node.outputs for d in v.type.dims)]
