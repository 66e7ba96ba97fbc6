"""CSP layers and CSPDarknet: cross-stage partial networks (Wang et al. 2020, arXiv:1911.11929) as YOLOX uses them."""

from __future__ import annotations

from collections.abc import Callable

from graphdet import ops
from graphdet.blocks.conv import silu_module
from graphdet.ir import Value, scope

Block = Callable[..., Value]
STAGES = ((128, 3, True), (256, 9, True), (512, 9, True), (1024, 3, False))  # channels, bottlenecks, with shortcuts


def csp_layer(name: str, x: Value, out: int, *, count: int, shortcut: bool, block: Block) -> Value:
    """Half of the channels pass through `count` bottlenecks, the other half around them; both are joined."""
    with scope(name):
        through = silu_module("main_conv", x, out // 2, size=1)  # in the authors' order, which their exports follow
        around = silu_module("short_conv", x, out // 2, size=1)
        with scope("blocks"):
            for i in range(count):
                with scope(i):
                    y = block("conv2", silu_module("conv1", through, out // 2, size=1), out // 2)
                through = through + y if shortcut else y
        return silu_module("final_conv", ops.concat(through, around, axis=1), out, size=1)


def csp_darknet(pixels: Value, *, depth: float, width: float, block: Block) -> list[Value]:
    """Features at strides 8, 16, 32. `depth` and `width` scale the numbers of bottlenecks and channels."""
    with scope("stem"):
        x = silu_module("conv", focus(pixels), int(64 * width))
    features = []
    for stage, (channels, count, shortcut) in enumerate(STAGES, 1):
        out = int(channels * width)
        with scope(f"stage{stage}"):
            x = block("0", x, out, stride=2)
            if stage == 4:
                x = spatial_pyramid("1", x, out)
            repeats = max(round(count * depth), 1)
            x = csp_layer("2" if stage == 4 else "1", x, out, count=repeats, shortcut=shortcut, block=block)
        features.append(x)
    return features[1:]


def focus(x: Value) -> Value:
    """Space to depth: the pixels of a 2x2 block become channels (top left, bottom left, top right, bottom right)."""
    return ops.concat(*(x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)), axis=1)


def spatial_pyramid(name: str, x: Value, out: int) -> Value:
    """Max pooling at several window sizes, joined (He et al. 2015, arXiv:1406.4729)."""
    with scope(name):
        half = silu_module("conv1", x, (x.dim(1).constant or 0) // 2, size=1)
        pools = [ops.max_pool(half, size=size, padding=size // 2) for size in (5, 9, 13)]
        return silu_module("conv2", ops.concat(half, *pools, axis=1), out, size=1)
