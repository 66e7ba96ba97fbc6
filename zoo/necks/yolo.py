"""The neck of YOLOX: a top-down and a bottom-up path of CSP layers (Liu et al. 2018, PANet, arXiv:1803.01534)."""

from __future__ import annotations

from collections.abc import Sequence

from graphdet import ops
from graphdet.blocks.conv import silu_module
from graphdet.ir import Value, scope
from graphdet.zoo.backbones.csp import Block, csp_layer


def yolo_pafpn(features: Sequence[Value], out: int, *, count: int, block: Block) -> list[Value]:
    """Three levels of equal width, finest first. `count`: bottlenecks of each CSP layer."""
    channels = [f.dim(1).constant or 0 for f in features]
    last = len(features) - 1
    inner: list[Value] = [features[-1]]
    for i, k in enumerate(range(last, 0, -1)):
        with scope("reduce_layers"):
            inner[0] = silu_module(str(i), inner[0], channels[k - 1], size=1)
        joined = ops.concat(ops.upsample(inner[0], scale=2), features[k - 1], axis=1)
        with scope("top_down_blocks"):
            inner.insert(0, csp_layer(str(i), joined, channels[k - 1], count=count, shortcut=False, block=block))
    levels = [inner[0]]
    for k in range(last):
        with scope("downsamples"):
            down = block(str(k), levels[-1], channels[k], stride=2)
        with scope("bottom_up_blocks"):
            joined = ops.concat(down, inner[k + 1], axis=1)
            levels.append(csp_layer(str(k), joined, channels[k + 1], count=count, shortcut=False, block=block))
    with scope("out_convs"):
        return [silu_module(str(k), level, out, size=1) for k, level in enumerate(levels)]
