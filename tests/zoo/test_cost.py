"""What detectors cost, against PyTorch's own counter."""

from __future__ import annotations

import numpy as np
import pytest

from graphdet.compiler.backends.torch import to_module
from graphdet.compiler.build import other_inputs
from graphdet.compiler.cost import cost
from graphdet.ir import trace
from graphdet.ir.initial import initial_values
from graphdet.ir.types import numpy_dtype
from graphdet.zoo import get, variants
from tests.compiler.tiny import takes

torch = pytest.importorskip("torch")
FIRST = {variant.function.__name__: name for name, variant in list(variants().items())[::-1]}.values()  # of each table
UNSEEN = ("attention", "deform_attention", "deform_conv2d")  # kernels that PyTorch's counter does not know


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in FIRST else pytest.mark.nightly) for n in variants()]
)
def test_multiply_adds_equal_torch(name: str) -> None:
    """Products of convolutions and matrices of one small image, to 2 %."""
    from torch.utils.flop_counter import FlopCounterMode

    graph = trace(get(name), "infer")
    divisor = get(name).preprocess.divisor
    sides = (-(-least // divisor) * divisor for least in (64, 257))
    side = next(side for side in sides if takes(graph, (side, side)))
    arrays = {
        "pixels": np.random.default_rng(0).standard_normal((1, 3, side, side)),
        "size": [[side, side]],
        "geometry": [[1, 1, 0, 0]],
    }
    inputs = {k: torch.from_numpy(np.asarray(v, np.float32)) for k, v in arrays.items() if k in graph.inputs}
    for value in other_inputs(graph):  # given boxes: none, in as many rows as there may be
        shape = tuple(d.evaluate({"N": 1}) for d in value.shape)
        empty = torch.from_numpy(np.zeros(shape, numpy_dtype(value.type.dtype)))
        inputs[value.node.attributes["name"].replace(".", "_")] = empty
    module = to_module(graph, initial_values(graph)).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        found = module(**inputs)
    sizes = {"N": 1, "H": side, "W": side}
    for output, value in graph.outputs.items():  # sizes that depend on data, as they were
        for dim, size in zip(value.shape, found[output].shape, strict=True):
            if dim.symbol_alone and dim.symbol_alone.bound:
                sizes[dim.symbol_alone.name] = size
    records = cost(graph, sizes)
    ours = sum(c.multiply_adds for c in records if "flops" in c.node.op.rules and c.node.name not in UNSEEN)
    assert ours == pytest.approx(counter.get_total_flops() / 2, rel=0.02)
