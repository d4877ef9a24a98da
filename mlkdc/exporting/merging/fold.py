"""Folding linear operations into the convolution beside them, found by watching one forward pass.

Module names say nothing sure about what runs after what, so the pairs are read off the operators that really run
(a dispatch mode sees every one, with the very tensors it takes): whatever is not seen to be safe is left alone.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d
from timm.utils.model import reparameterize_model
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_aten = torch.ops.aten


class Trace(TorchDispatchMode):
    """Every operator of the forwards run inside, and how many operators take each tensor.

    Tensors are told apart by ``id``; they are kept alive, so that none is given to a later tensor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], Any]] = []
        self.uses: Counter[int] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.uses.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        self.calls.append((func, args, out))
        return out

    def of(self, operator: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """(arguments, result) of each call of one operator."""
        return ((args, out) for func, args, out in self.calls if func is operator)

    def once(self, *tensors: Tensor) -> bool:
        """Whether each tensor is taken by exactly one operator."""
        return all(self.uses[id(tensor)] == 1 for tensor in tensors)


def trace_of(model: nn.Module, image: Tensor) -> Trace:
    """Watch one forward pass."""
    with torch.no_grad(), Trace() as trace:
        model(image)
    return trace


def conv_of(model: nn.Module, trace: Trace) -> dict[int, nn.Conv2d]:
    """By the id of a weight: the convolution that owns it, where that weight is used as it is, and once."""
    convs = {id(m.weight): m for m in model.modules() if isinstance(m, nn.Conv2d)}
    return {key: conv for key, conv in convs.items() if trace.once(conv.weight)}


@dataclass(frozen=True)
class Tally:
    """What runs in one forward pass: parallel ``branches`` are told by difference, before and after merging.

    Args:
        branches: convolutions, and BatchNorms on feature maps that no convolution made (RepVGG's identity branch).
        norms: BatchNorms.
    """

    branches: int
    norms: int


def tally(model: nn.Module, image: Tensor) -> Tally:
    """Count what runs in ``model(image)``."""
    trace = trace_of(model, image)
    made = {id(out) for _, out in trace.of(_aten.convolution.default)}
    inputs = [args[0] for args, _ in trace.of(_aten.native_batch_norm.default)]
    lone = sum(features.ndim == 4 and id(features) not in made for features in inputs)
    return Tally(len(made) + lone, len(inputs))


def merge_branches(model: nn.Module) -> None:
    """Replace, in place, parallel branches by one convolution (Ding et al. 2021, RepVGG, section 3.3).

    This is timm's, for all of its architectures that offer it; some also fold their BatchNorms here.
    """
    reparameterize_model(model, inplace=True)


def _replacement(norm: nn.BatchNorm2d) -> nn.Module | None:
    """What remains of a BatchNorm once its affine map is elsewhere; None for a kind that is not known."""
    if type(norm).forward is nn.BatchNorm2d.forward:
        return nn.Identity()
    if isinstance(norm, BatchNormAct2d) and type(norm).forward is BatchNormAct2d.forward:
        return norm.act
    return None


def fold_batchnorm(model: nn.Module, image: Tensor) -> None:
    """Fold, in place, each BatchNorm into the convolution whose output it alone takes.

    A BatchNorm is left as it is after anything but a plain use of a convolution (shared or computed weights, an
    output that is read twice).

    Args:
        model: in eval mode, called with ``image``.
        image: ``float[1, 3, s, s]`` for the forward pass that is watched.
    """
    trace = trace_of(model, image)
    convs = conv_of(model, trace)
    sources = {id(out): args for args, out in trace.of(_aten.convolution.default)}
    norms = {id(m.running_mean): m for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    for args, _ in trace.of(_aten.native_batch_norm.default):
        features, norm, source = args[0], norms.get(id(args[3])), sources.get(id(args[0]))
        conv = convs.get(id(source[1])) if source else None
        if norm is None or conv is None or not trace.once(features, args[3]):
            continue
        rest = _replacement(norm)
        if rest is not None:
            _fold_pair(conv, norm)
            _replace(model, norm, rest)


@torch.no_grad()
def _fold_pair(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """In float64, so that the folded weights are off by one rounding and not by a chain of them."""
    parts = (conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    weight, bias, mean, var, gain, shift = (None if part is None else part.double() for part in parts)
    assert weight is not None
    assert mean is not None
    assert var is not None
    fused, offset = fuse_conv_bn_weights(weight, bias, mean, var, norm.eps, gain, shift)
    conv.weight, conv.bias = nn.Parameter(fused.to(conv.weight)), nn.Parameter(offset.to(conv.weight))


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    names = [name for name, module in model.named_modules(remove_duplicate=False) if module is old]
    for name in names:
        model.set_submodule(name, new)


@torch.no_grad()
def fold_input_scale(model: nn.Module, image: Tensor, scale: Tensor) -> bool:
    """Multiply, in place, the weights of the convolutions that take the image by ``scale``, one factor a channel.

    ``model(x)`` becomes what ``model(scale * x)`` was. A zero-padded border stays right: zero times anything is zero.

    Args:
        model: in eval mode, called with ``image``.
        image: ``float[1, c, s, s]`` for the forward pass that is watched.
        scale: ``float[c]``.

    Returns:
        False, and nothing is changed, where anything but an ungrouped convolution takes the image.
    """
    trace = trace_of(model, image)
    convs = conv_of(model, trace)
    padded = {id(args[0]): out for args, out in trace.of(_aten.constant_pad_nd.default) if not any(args[2:])}
    taken = padded.get(id(image), image)
    if taken is not image and not trace.once(image):
        return False
    found = [convs.get(id(args[1])) for args, _ in trace.of(_aten.convolution.default) if args[0] is taken]
    firsts = [conv for conv in found if conv is not None and conv.groups == 1]
    if not firsts or len(firsts) != trace.uses[id(taken)]:
        return False
    for conv in firsts:
        factors = scale.double().view(1, -1, 1, 1)
        conv.weight = nn.Parameter((conv.weight.double() * factors).to(conv.weight))
    return True
