"""Native kernels as differentiable PyTorch functions, for ops whose plain PyTorch form is slow on CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from graphdet.errors import BackendMissing
from graphdet.ir.op import OPS
from graphdet.runtime.kernels import kernels

Rule = Callable[..., Any]


class _RoiAlign(torch.autograd.Function):
    """Gradient flows to the features; RoIs are taken as fixed."""

    @staticmethod
    def forward(context: Any, features: Any, rois: Any, attributes: Mapping[str, Any]) -> Any:
        context.save_for_backward(rois)
        context.attributes = attributes
        context.map = (features.shape[0], *features.shape[2:])
        return torch.from_numpy(kernels().roi_align(features.detach().numpy(), rois.detach().numpy(), **attributes))

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        (rois,) = context.saved_tensors
        found = kernels().roi_align_backward(
            gradients[0].detach().numpy(), rois.numpy(), map=context.map, **context.attributes
        )
        return torch.from_numpy(found), None, None


def roi_align(t: Any, features: Any, rois: Any, **attributes: Any) -> Any:
    """The op `roi_align` by its kernel for float32 on CPU with fixed RoIs; otherwise by its PyTorch form."""
    fits = all(x.device.type == "cpu" and x.dtype == torch.float32 for x in (features, rois))
    if not fits or rois.requires_grad or not _present():
        return OPS["roi_align"].rules["torch"](t, features, rois, **attributes)
    apply: Rule = _RoiAlign.apply
    return apply(features, rois, attributes)


def _present() -> bool:
    try:
        kernels()
    except BackendMissing:
        return False
    return True


def _by_kernel(name: str) -> Rule:
    def rule(*operands: Any, **attributes: Any) -> Any:
        return OPS[name].rules["torch"](*operands, align=roi_align, **attributes)

    return rule


RULES: Mapping[str, Rule] = {
    "roi_align": roi_align,
    **{name: _by_kernel(name) for name in ("roi_align_levels",)},
}
