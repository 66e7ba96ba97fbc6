"""Where a run starts: the detector for the data's classes, and weights of another run or library."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from graphdet import zoo
from graphdet.data import Dataset
from graphdet.errors import BadRecipe, BadWeights
from graphdet.importers import Weights, read_weights
from graphdet.importers.detector import import_weights
from graphdet.ir import Variant, trace

_COUNTER = "num_batches_tracked"


def variant_for(name: str, data: Dataset) -> Variant:
    """The zoo's variant with a head for the data's classes. Raises BadRecipe where there is no class."""
    variant, classes = zoo.get(name), data.classes
    if not classes:
        raise BadRecipe("the data names no classes, so no head can be made for them")
    if len(set(classes)) < len(classes):
        raise BadRecipe("the data names a class twice", help="merge the two")
    if len(classes) != len(variant.row.classes):
        variant = variant.with_arguments(num_classes=len(classes))
    return replace(variant, row=replace(variant.row, classes=classes, ap=variant.row.ap))


def check_held_out(data: Dataset, held_out: Dataset) -> None:
    """Raise BadRecipe where two datasets name other classes, or in another order."""
    if data.classes != held_out.classes:
        raise BadRecipe(
            f"the data has the classes {_some(data.classes)}; the held-out data has {_some(held_out.classes)}",
            help="name the classes and their order for both: append '#a,b,c' to the dataset",
        )


@dataclass(frozen=True)
class Start:
    """What weights gave: names that were taken, that were initialised anew, and that were of no use."""

    file: str
    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    surplus: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{self.file}: {len(self.taken)} parameters taken"]
        for names, what in ((self.fresh, "initialised anew"), (self.surplus, "of no use here")):
            if names:
                parts.append(f"{len(names)} {what} ({_some(_prefixes(names))})")
        return "; ".join(parts)


def start_from(module: nn.Module, variant: Variant, file: str) -> Start:
    """Copy the weights that fit into a module; the head is not taken when it was made for other classes.

    Names are the detector's, or those of its backbone alone. Raises MissingFile, BadWeights (unreadable; nothing fits).
    """
    found = _read(file, variant)
    own = {n: v for n, v in module.state_dict().items() if not n.endswith(_COUNTER)}
    tensors = {n: a for n, a in found.tensors.items() if not n.endswith(_COUNTER)}
    if not own.keys() & tensors.keys():
        tensors = {f"backbone.{n}": a for n, a in tensors.items()}
    other_head = found.classes and found.classes != variant.row.classes
    head = class_parameters(variant) if other_head else frozenset()
    taken = [n for n, v in own.items() if n in tensors and tuple(v.shape) == tensors[n].shape and n not in head]
    if not taken:
        raise BadWeights(f"no parameter of {file} fits {variant.name}", help="were they made for another detector?")
    state = {n: torch.from_numpy(np.array(tensors[n], np.float32)) for n in taken}
    module.load_state_dict(state, strict=False)
    rest = tuple(n for n in own if n not in state), tuple(n for n in tensors if n not in own)
    return Start(Path(file).name, tuple(taken), *rest)


def _read(file: str, variant: Variant) -> Weights:
    """An ONNX file holds no usable names: it is read as the zoo's own variant, with as many classes."""
    if Path(file).suffix.lower() == ".onnx":
        return import_weights(file, zoo.get(variant.name))
    return read_weights(file)


def class_parameters(variant: Variant) -> frozenset[str]:
    """Names of the parameters whose shape depends on the number of classes."""
    count = len(variant.row.classes)
    shapes: list[Mapping[str, object]] = [
        {n: v.shape for n, v in trace(variant.with_arguments(num_classes=k), "infer").params.items()}
        for k in (count, count + 1)
    ]
    return frozenset(n for n in shapes[0] if shapes[0][n] != shapes[1][n])


def freeze(module: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Let parameters whose name a pattern is found at the start of stay as they are. Returns their names."""
    names = []
    for name, parameter in module.named_parameters():
        if any(re.match(p, name) for p in patterns):
            parameter.requires_grad_(False)
            names.append(name)
    for pattern in patterns:
        if not any(re.match(pattern, n) for n in names):
            raise BadRecipe(f"freeze: no parameter's name starts with {pattern!r}", help="see `graphdet show VARIANT`")
    return names


def _prefixes(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(n.rpartition(".")[0] for n in names))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
