"""What a pass may know beside the graph, and where it says what it did and what it refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphdet.ir.graph import Node
from graphdet.records import Array


@dataclass
class Context:
    """params: trained values by name · sizes: symbols that the build fixes · rewrites, refusals: of this pass."""

    params: Mapping[str, Array] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    rewrites: int = 0
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)

    def rewrote(self, node: Node) -> None:
        """A rewrite fired at this node."""
        self.rewrites += 1

    def refuse(self, reason: str, node: Node) -> None:
        """A rewrite did not fire at this node, for this reason; `graphdet explain` shows it with the declaring line."""
        self.refusals[reason, node.place] += 1
