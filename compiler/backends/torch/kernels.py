"""Native kernels as differentiable PyTorch functions, for ops whose plain PyTorch form is slow on CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from graphdet.errors import BackendMissing
from graphdet.ir.op import OPS
from graphdet.records import Array
from graphdet.runtime.kernels import kernels

Rule = Callable[..., Any]
Gradients = Callable[..., tuple[Any, ...]]


class _Native(torch.autograd.Function):
    """The kernel of an op forwards; backwards a function of the operands and the gradient, all of them arrays."""

    @staticmethod
    def forward(context: Any, op: str, backward: Gradients, attributes: Mapping[str, Any], *operands: Any) -> Any:
        context.backward_rule, context.attributes = backward, attributes
        context.save_for_backward(*operands)
        return torch.from_numpy(getattr(kernels(), op)(*map(_array, operands), **attributes))

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        found = context.backward_rule(
            _array(gradients[0]), *map(_array, context.saved_tensors), wanted=context.needs_input_grad[3:],
            **context.attributes,
        )  # fmt: skip
        return None, None, None, *(None if x is None else torch.from_numpy(x) for x in found)


def _array(tensor: Any) -> Array | None:
    return None if tensor is None else tensor.detach().numpy()


def _rule(op: str, backward: Gradients, fixed: tuple[int, ...] = ()) -> Rule:
    """The op by its kernel for float32 on CPU where the operands `fixed` need no gradient, else by its PyTorch form."""

    def rule(t: Any, *operands: Any, **attributes: Any) -> Any:
        given = [x for x in operands if x is not None]
        floats = all(x.device.type == "cpu" and (x.dtype == torch.float32 or not x.is_floating_point()) for x in given)
        if not floats or any(operands[i].requires_grad for i in fixed) or not _present():
            return OPS[op].rules["torch"](t, *operands, **attributes)
        apply: Rule = _Native.apply
        return apply(op, backward, attributes, *operands)

    return rule


def _selection(op: str) -> Rule:
    """The op by its kernel on CPU where nothing needs a gradient, else by its PyTorch form."""

    def rule(t: Any, *operands: Any, **attributes: Any) -> Any:
        tensors = [x for x in operands if isinstance(x, torch.Tensor)]
        if any(x.requires_grad or x.device.type != "cpu" or x.dtype not in _TAKEN for x in tensors) or not _present():
            return OPS[op].rules["torch"](t, *operands, **attributes)
        arrays = (_array(x) if isinstance(x, torch.Tensor) else x for x in operands)
        return tuple(map(torch.from_numpy, getattr(kernels(), op)(*arrays, **attributes)))

    return rule


_TAKEN = (torch.float32, torch.int64)


def _present() -> bool:
    try:
        kernels()
    except BackendMissing:
        return False
    return True


def _roi_align(gradient: Any, features: Any, rois: Any, *, wanted: Any, **attributes: Any) -> tuple[Any, ...]:
    images, _, height, width = features.shape
    return kernels().roi_align_backward(gradient, rois, map=(images, height, width), **attributes), None


def _roi_pool(gradient: Any, *operands: Any, wanted: Any, **attributes: Any) -> tuple[Any, ...]:
    return kernels().roi_pool_backward(gradient, *operands, **attributes), None


def _focal_loss(gradient: Any, *operands: Any, wanted: Any, **attributes: Any) -> tuple[Any, ...]:
    return kernels().focal_loss_backward(gradient, *operands, **attributes), None


def _carafe(gradient: Any, *operands: Any, wanted: Any, **attributes: Any) -> tuple[Any, ...]:
    x, weights = kernels().carafe_backward(gradient, *operands, **attributes)
    return x, weights


def _corner_pool(gradient: Any, x: Any, *, wanted: Any, side: str) -> tuple[Any, ...]:
    return (kernels().corner_pool_backward(gradient, x, side=side),)


def _deform_conv2d(
    gradient: Any, x: Any, weight: Any, offset: Any, mask: Any, bias: Any, *, wanted: Any, **attributes: Any
) -> tuple[Any, ...]:
    found = kernels().deform_conv2d_backward(gradient, x, weight, offset, mask, **attributes)
    return *found, *([None] if mask is None else []), gradient.sum((0, 2, 3)) if wanted[4] else None


def _deform_attention(gradient: Any, *operands: Any, wanted: Any) -> tuple[Any, ...]:
    found = kernels().deform_attention_backward(gradient, *operands)
    return *found, *[None] * (len(operands) - 3)


def _with_align(name: str) -> Rule:
    """A rule that aligns RoIs, by the kernel."""

    def rule(*operands: Any, **attributes: Any) -> Any:
        return OPS[name].rules["torch"](*operands, align=RULES["roi_align"], **attributes)

    return rule


RULES: Mapping[str, Rule] = {
    "carafe": _rule("carafe", _carafe),
    "corner_pool": _rule("corner_pool", _corner_pool),
    "deform_attention": _rule("deform_attention", _deform_attention),
    "deform_conv2d": _rule("deform_conv2d", _deform_conv2d),
    "focal_loss": _rule("focal_loss", _focal_loss),
    "nms": _selection("nms"),
    "roi_align": _rule("roi_align", _roi_align, fixed=(1,)),
    **{name: _with_align(name) for name in ("roi_align_levels", "crop_masks")},
    "roi_pool": _rule("roi_pool", _roi_pool, fixed=(1,)),
}
