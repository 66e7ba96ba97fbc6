"""VGG-16 as SSD uses it, its fully connected layers made convolutions (Liu et al. 2016, arXiv:1512.02325)."""

from __future__ import annotations

from graphdet import ops
from graphdet.blocks.conv import conv
from graphdet.ir import Value, scope

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions (Simonyan and Zisserman 2015)


def ssd_vgg16(pixels: Value) -> list[Value]:
    """Conv4_3 at stride 8 and conv7 at stride 16. Odd sizes are pooled to the larger half."""
    x, place, features = pixels, 0, []
    with scope("features"):
        for stage, (out, count) in enumerate(STAGES, 1):
            for _ in range(count):
                x = ops.relu(conv(str(place), x, out))
                place += 2
            features.append(x)
            last = stage == len(STAGES)
            x = ops.max_pool(x, size=3, padding=1) if last else ops.max_pool(x, size=2, stride=2, partial=True)
            place += 1
        x = ops.relu(conv(str(place), x, 1024, dilation=6))
        x = ops.relu(conv(str(place + 2), x, 1024, size=1))
    return [features[3], x]
