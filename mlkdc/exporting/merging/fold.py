"""Folding linear operations into the convolution they come before or after."""

import torch
from timm.layers.norm_act import BatchNormAct2d
from timm.utils.model import reparameterize_model
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mlkdc.exporting.merging.trace import BATCH_NORM, CONVOLUTION, Trace, convolutions, trace_of

_PAD = torch.ops.aten.constant_pad_nd.default


def merge_branches(model: nn.Module) -> None:
    """Replace, in place, parallel branches by one convolution (Ding et al. 2021, RepVGG, section 3.3).

    This is timm's, for all of its architectures that offer it; some also fold their BatchNorms here.
    """
    reparameterize_model(model, inplace=True)


def fold_batchnorm(model: nn.Module, image: Tensor) -> None:
    """Fold, in place, each BatchNorm into the convolution whose output it alone takes.

    A BatchNorm is left as it is after anything but a plain use of a convolution (shared or computed weights, an
    output that is read twice).

    Args:
        model: in eval mode, called with ``image``.
        image: ``float[1, 3, s, s]`` for the forward pass that is watched.
    """
    trace = trace_of(model, image)
    by_weight = convolutions(model, trace)
    # A convolution is known by its weight, a BatchNorm by its running mean: both are the very objects that the
    # operators took, whatever the modules are called.
    makers: dict[int, nn.Conv2d] = {}
    for call in trace.of(CONVOLUTION):
        weight = call.arguments[1]
        if id(weight) in by_weight:
            makers[id(call.output)] = by_weight[id(weight)]
    norms = {id(module.running_mean): module for module in model.modules() if isinstance(module, nn.BatchNorm2d)}
    for call in trace.of(BATCH_NORM):
        features, running_mean = call.arguments[0], call.arguments[3]
        conv, norm = makers.get(id(features)), norms.get(id(running_mean))
        if conv is None or norm is None or not trace.once(features, running_mean):
            continue
        remainder = _remainder(norm)
        if remainder is not None:
            _fold_pair(conv, norm)
            _replace(model, norm, remainder)


def _remainder(norm: nn.BatchNorm2d) -> nn.Module | None:
    """What remains of a BatchNorm once its affine map is elsewhere; None for a kind that is not known."""
    # A subclass that overrides forward may do more than normalize, which folding would lose.
    if type(norm).forward is nn.BatchNorm2d.forward:
        return nn.Identity()
    if isinstance(norm, BatchNormAct2d) and type(norm).forward is BatchNormAct2d.forward:
        activation: nn.Module = norm.act
        return activation
    return None


@torch.no_grad()
def _fold_pair(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """In float64, so that the folded weights are off by one rounding and not by a chain of them."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        conv.weight.double(),
        _double(conv.bias),
        norm.running_mean.double(),
        norm.running_var.double(),
        norm.eps,
        _double(norm.weight),
        _double(norm.bias),
    )
    dtype = conv.weight
    conv.weight, conv.bias = nn.Parameter(weight.to(dtype)), nn.Parameter(bias.to(dtype))


def _double(tensor: Tensor | None) -> Tensor | None:
    if tensor is None:
        return None
    return tensor.double()


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` is registered, which can be under several names."""
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
    taken = _padded(image, trace)
    if taken is not image and not trace.once(image):
        return False
    by_weight = convolutions(model, trace)
    stems = []
    for call in trace.of(CONVOLUTION):
        conv = by_weight.get(id(call.arguments[1]))
        if call.arguments[0] is taken and conv is not None and conv.groups == 1:
            stems.append(conv)
    if not stems or len(stems) != trace.uses[id(taken)]:
        return False
    factors = scale.double().view(1, -1, 1, 1)
    for conv in stems:
        conv.weight = nn.Parameter((conv.weight.double() * factors).to(conv.weight))
    return True


def _padded(image: Tensor, trace: Trace) -> object:
    """The image with a border of zeros, where the model begins with making one; else the image."""
    padded: object = image
    for call in trace.of(_PAD):
        # Zero is the default of the third argument; any other value would have to be scaled too.
        if call.arguments[0] is image and not any(call.arguments[2:]):
            padded = call.output
    return padded
