"""ResNet (He et al. 2016, arXiv:1512.03385) and ResNeXt (Xie et al. 2017, arXiv:1611.05431)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphdet import ops
from graphdet.blocks.conv import Norm, batch_norm, conv, group_norm
from graphdet.ir import Value, scope

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}  # table 1


@dataclass(frozen=True)
class ResNet:
    """A residual network as detectors use it.

    caffe: a bottleneck strides in its first 1x1 convolution (the original networks) instead of its 3x3 one, and batch
    norm learns nothing · frozen: how many stages, counted from the stem, learn nothing · fixed_norm: batch norm learns
    nothing · stored: it keeps its stored statistics in training · groups, group_width: ResNeXt's cardinality and width
    · strides, dilations: of the stages; a dilated one has dilated 3x3 convolutions · norm: batch norm, or group norm
    (Wu and He 2018, arXiv:1803.08494).
    """

    depth: int = 50
    caffe: bool = False
    frozen: int = 1
    fixed_norm: bool = False
    stored: bool = True
    groups: int = 1
    group_width: int = 64
    strides: tuple[int, ...] = (1, 2, 2, 2)
    dilations: tuple[int, ...] = (1, 1, 1, 1)
    norm: Literal["bn", "gn"] = "bn"

    def __call__(self, x: Value, stages: int = 4) -> list[Value]:
        """Features c2, c3, c4, c5 at strides 4, 8, 16, 32; the first `stages` of them."""
        learns = self.frozen < 0
        x = conv("conv1", x, 64, size=7, stride=2, bias=False, trainable=learns)
        x = ops.relu(self._norm(f"{self.norm}1", x, learns))
        x = ops.max_pool(x, size=3, stride=2, padding=1)
        features = []
        for number in range(stages):
            x = self.stage(x, number)
            features.append(x)
        return features

    def stage(self, x: Value, number: int) -> Value:
        """One stage (0 to 3): its parameters are `layer1` to `layer4`."""
        with scope(f"layer{number + 1}"):
            for i in range(DEPTHS[self.depth][number]):
                with scope(i):
                    x = self._block(x, number, 1 if i else self.strides[number], self.frozen <= number)
        return x

    def _norm(self, name: str, x: Value, learns: bool) -> Value:
        if self.norm == "gn":
            return group_norm(name, x, trainable=learns)
        learns = learns and not (self.caffe or self.fixed_norm)
        return batch_norm(name, x, Norm(stored=self.stored, trainable=learns))

    def _block(self, x: Value, number: int, stride: int, learns: bool) -> Value:
        planes, dilation = 64 * 2**number, self.dilations[number]
        out = planes if self.depth < 50 else planes * 4
        shortcut = x
        if stride > 1 or x.dim(1) != out:
            with scope("downsample"):
                shortcut = conv("0", x, out, size=1, stride=stride, bias=False, trainable=learns)
                shortcut = self._norm("1", shortcut, learns)
        for i, (width, size, step, groups, spread) in enumerate(self._layers(planes, out, stride, dilation), 1):
            x = conv(
                f"conv{i}", x, width, size=size, stride=step, groups=groups, dilation=spread,
                bias=False, trainable=learns,
            )  # fmt: skip
            x = self._norm(f"{self.norm}{i}", x, learns)
            if i < (2 if self.depth < 50 else 3):
                x = ops.relu(x)
        return ops.relu(x + shortcut)

    def _layers(self, planes: int, out: int, stride: int, dilation: int) -> list[tuple[int, int, int, int, int]]:
        """(channels, kernel size, stride, groups, dilation) of a block's convolutions."""
        if self.depth < 50:
            return [(planes, 3, stride, 1, dilation), (planes, 3, 1, 1, 1)]
        width = planes * self.group_width // 64 * self.groups
        first, second = (stride, 1) if self.caffe else (1, stride)
        return [(width, 1, first, 1, 1), (width, 3, second, self.groups, dilation), (out, 1, 1, 1, 1)]
