"""MobileNetV2: inverted residuals with linear bottlenecks (Sandler et al. 2018, arXiv:1801.04381)."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphdet import ops
from graphdet.blocks.conv import Activation, Norm, conv_module
from graphdet.ir import Value, scope

STAGES = (  # table 2: expansion, channels, blocks, stride
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


@dataclass(frozen=True)
class MobileNetV2:
    """outputs: which stages to return; 1 .. 7 are those of table 2, 8 is the last 1x1 convolution."""

    outputs: tuple[int, ...]
    norm: Norm = field(default_factory=Norm)
    act: Activation = ops.relu6

    def __call__(self, x: Value) -> list[Value]:
        """Features of the wanted stages."""
        x = conv_module("conv1", x, 32, stride=2, norm=self.norm, act=self.act)
        features = []
        for stage, (expand, out, count, stride) in enumerate(STAGES, 1):
            with scope(f"layer{stage}"):
                for i in range(count):
                    with scope(i):
                        x = self._block(x, out, expand, stride if i == 0 else 1)
            features.append(x)
        features.append(conv_module("conv2", x, 1280, size=1, norm=self.norm, act=self.act))
        return [features[i - 1] for i in self.outputs]

    def _block(self, x: Value, out: int, expand: int, stride: int) -> Value:
        width = (x.dim(1).constant or 0) * expand
        wide = conv_module("expand_conv", x, width, size=1, norm=self.norm, act=self.act) if expand > 1 else x
        deep = conv_module("depthwise_conv", wide, width, stride=stride, groups=width, norm=self.norm, act=self.act)
        thin = conv_module("linear_conv", deep, out, size=1, norm=self.norm, act=lambda y: y)
        return x + thin if stride == 1 and x.dim(1) == out else thin
