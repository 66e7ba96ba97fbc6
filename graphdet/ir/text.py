"""The textual form of a graph: one line a node, reads top-down, parses back to an equal graph.

```
graph yolox_nano infer
dims H%32 N W%32
%0 = input {"name": "pixels", ...} : f32[N 3 H W]   ; zoo/yolox.py:60
%5 = conv2d(%0, %1, _) {"stride": 2, ...} : f32[N 16 H/2 W/2]   ; zoo/backbones/csp.py:20 @backbone.stem
output boxes = %90
tap neck.0 = %44
```
Large constants appear as the hash of their content; `parse` takes them from a table of arrays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdet.errors import BadText, GdError
from graphdet.ir.dims import Dim, parse_dim
from graphdet.ir.graph import Attribute, Graph, Node, Value, array_hash
from graphdet.ir.op import OPS
from graphdet.ir.source import Place
from graphdet.ir.types import parse_type

_INLINE = 16
_LINE = re.compile(
    r"(?P<outs>%\d+(?:, %\d+)*) = (?P<op>\w+)(?:\((?P<ins>[^)]*)\))?(?: (?P<attrs>\{.*\}))? : (?P<types>.*?)"
    r"(?:   ; (?P<place>[^@]*?)(?: @(?P<scope>\S+))?)?"
)


def to_text(graph: Graph, *, places: bool = True) -> str:
    """Print a graph. `places` adds where each node was declared."""
    names: dict[Value, str] = {}
    lines = [f"graph {graph.name} {graph.phase}"]
    symbols = (f"{s.name}%{s.multiple}" + (f"<={s.bound}" if s.bound else "") for s in graph.symbols.values())
    lines.append(" ".join(["dims", *symbols]))
    for node in graph.nodes:
        for value in node.outputs:
            names[value] = f"%{len(names)}"
        lines.append(_node_line(node, names, places))
    lines += [f"output {name} = {names[value]}" for name, value in graph.outputs.items()]
    lines += [f"tap {name} = {names[value]}" for name, value in graph.taps.items()]
    return "\n".join(lines) + "\n"


def arrays_of(graph: Graph) -> dict[str, NDArray[Any]]:
    """The constants too large to be printed inline, by content hash."""
    found = (n.attributes["value"] for n in graph.nodes if n.name == "const")
    return {array_hash(a): a for a in found if a.size > _INLINE}


def _node_line(node: Node, names: Mapping[Value, str], places: bool) -> str:
    line = f"{', '.join(names[v] for v in node.outputs)} = {node.name}"
    if node.inputs:
        line += f"({', '.join('_' if v is None else names[v] for v in node.inputs)})"
    if node.attributes:
        line += " " + json.dumps({k: _encode(v) for k, v in node.attributes.items()})
    line += " : " + ", ".join(str(v.type) for v in node.outputs)
    if places and (node.place or node.scope):
        line += f"   ; {node.place}" + (f" @{node.scope}" if node.scope else "")
    return line


def _encode(attribute: Attribute) -> Any:
    if isinstance(attribute, Dim):
        return {"dim": str(attribute)}
    if isinstance(attribute, np.ndarray):
        head = {"dtype": attribute.dtype.name, "shape": list(attribute.shape)}
        if attribute.size <= _INLINE:
            return {"array": {**head, "data": attribute.ravel().tolist()}}
        return {"array": {**head, "hash": array_hash(attribute)}}
    return [_encode(a) for a in attribute] if isinstance(attribute, tuple) else attribute


class _Parser:
    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays, self.dims, self.values = arrays, dict[str, Dim](), dict[str, Value]()
        self.nodes: list[Node] = []

    def decode(self, raw: Any) -> Attribute:
        if isinstance(raw, list):
            return tuple(self.decode(r) for r in raw)
        if not isinstance(raw, dict):
            return raw
        if "dim" in raw:
            return parse_dim(raw["dim"], self.dims)
        head = raw["array"]
        if "hash" in head:
            if head["hash"] not in self.arrays:
                raise ValueError(f"constant {head['hash']} is not in the table of arrays")
            return np.asarray(self.arrays[head["hash"]]).reshape(head["shape"])
        return np.asarray(head["data"], head["dtype"]).reshape(head["shape"])

    def node(self, line: str) -> None:
        found = _LINE.fullmatch(line)
        if not found:
            raise ValueError("not a node line")
        if found["op"] not in OPS:
            raise ValueError(f"unknown op {found['op']!r}")
        types = tuple(parse_type(t, self.dims) for t in re.split(r", (?=[a-z])", found["types"]))
        inputs = tuple(None if name == "_" else self.values[name] for name in (found["ins"] or "").split(", ") if name)
        attributes = {k: self.decode(v) for k, v in json.loads(found["attrs"] or "{}").items()}
        places = (Place(text=found["place"].strip()),) if found["place"] else ()
        made = Node.make(OPS[found["op"]], inputs, attributes, types, places, found["scope"] or "")
        self.values.update(zip(found["outs"].split(", "), made.outputs, strict=True))
        self.nodes.append(made)

    def symbols(self, line: str) -> None:
        for text in line.split()[1:]:
            name, _, rest = text.partition("%")
            multiple, _, bound = rest.partition("<=")
            if not name.isidentifier() or int(multiple) < 1 or int(bound or 0) < 0:
                raise ValueError(f"{text!r} is not a size; expected `name%multiple` or `name%multiple<=bound`")
            self.dims[name] = Dim.symbol(name, int(multiple), int(bound or 0))


def parse(text: str, arrays: Mapping[str, NDArray[Any]] | None = None) -> Graph:
    """Read the printed form back.

    Raises BadText with the line; types are taken as printed (`verify` checks them).
    """
    import graphdet.ops  # noqa: F401  fills the table of ops

    parser, outputs, taps = _Parser(arrays or {}), dict[str, Value](), dict[str, Value]()
    head: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            match line.split(maxsplit=1)[0] if line.strip() else "":
                case "":
                    continue
                case "graph":
                    head = line.split()
                case "dims":
                    parser.symbols(line)
                case "output" | "tap" as kind:
                    name, _, value = line.split(maxsplit=1)[1].partition(" = ")
                    (outputs if kind == "output" else taps)[name] = parser.values[value]
                case _:
                    parser.node(line)
        except (ValueError, KeyError, IndexError, TypeError, ArithmeticError, GdError) as error:
            fault = f"unknown name {error}" if isinstance(error, KeyError) else str(error)
            raise BadText(f"line {number}: {fault}", where=f"    {line[:160]}") from None
    if len(head) != 3:
        raise BadText("line 1: expected `graph <name> <phase>`")
    return Graph(head[1], head[2], tuple(parser.nodes), outputs, taps)
