"""Darknet-53: residual blocks of a 1x1 and a 3x3 convolution (Redmon and Farhadi 2018, arXiv:1804.02767, table 1)."""

from __future__ import annotations

from graphdet import ops
from graphdet.blocks.conv import Norm, conv_module
from graphdet.ir import Value, scope

TRAINED = Norm()
STORED = Norm(stored=True)  # statistics of pre-training: batches of detectors are small
STAGES = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))  # channels, residual blocks


def leaky_module(name: str, x: Value, out: int, *, size: int = 3, stride: int = 1, norm: Norm = TRAINED) -> Value:
    """Convolution, batch norm, leaky ReLU: all that Darknet and YOLOv3 are made of."""
    return conv_module(name, x, out, size=size, stride=stride, norm=norm, act=ops.leaky_relu)


def darknet53(pixels: Value) -> list[Value]:
    """Features at strides 8, 16, 32."""
    x = leaky_module("conv1", pixels, 32, norm=STORED)
    features = []
    for stage, (out, count) in enumerate(STAGES, 1):
        with scope(f"conv_res_block{stage}"):
            x = leaky_module("conv", x, out, stride=2, norm=STORED)
            for i in range(count):
                with scope(f"res{i}"):
                    inner = leaky_module("conv1", x, out // 2, size=1, norm=STORED)
                    x = x + leaky_module("conv2", inner, out, norm=STORED)
        features.append(x)
    return features[2:]
