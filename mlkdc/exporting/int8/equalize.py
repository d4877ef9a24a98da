"""Cross-layer equalization: the same function, with weights that lose less in eight bits."""

from collections import Counter

import torch
from torch import Tensor, nn

from mlkdc.exporting.merging.fold import conv_of, trace_of

_aten = torch.ops.aten
ROUNDS = 20


@torch.no_grad()
def equalize(model: nn.Module, image: Tensor) -> int:
    """Even out, in place, the ranges of channels between convolutions (Nagel et al. 2019, section 4.1).

    For a convolution, a ReLU and a convolution, channel i of the first may be divided and of the second multiplied by
    s_i = sqrt(r1_i r2_i) / r2_i, with r the largest absolute weight of the channel: a ReLU passes a positive factor
    on. Repeated until the factors are near 1. Other activations (ReLU6, Hardswish) do not, and are passed over.

    Args:
        model: merged, in eval mode, called with ``image``.
        image: ``float[1, 3, s, s]`` for the forward pass that is watched.

    Returns:
        The number of pairs.
    """
    pairs = _pairs(model, image)
    for _ in range(ROUNDS):
        largest = 0.0
        for first, second in pairs:
            scale = _scale(first, second)
            largest = max(largest, (scale.log().abs()).max().item())
            first.weight.div_(scale.view(-1, 1, 1, 1))
            if first.bias is not None:
                first.bias.div_(scale)
            depthwise = second.groups > 1
            second.weight.mul_(scale.view(-1, 1, 1, 1) if depthwise else scale.view(1, -1, 1, 1))
        if largest < 1e-3:
            break
    return len(pairs)


def _scale(first: nn.Conv2d, second: nn.Conv2d) -> Tensor:
    """``float[c]``; 1 for a channel that is zero on one side."""
    one = first.weight.abs().amax((1, 2, 3))
    two = second.weight.abs().amax((1, 2, 3) if second.groups > 1 else (0, 2, 3))
    scale = (one / two).sqrt()
    return torch.where(scale.isfinite() & (scale > 0), scale, torch.ones_like(scale))


def _depthwise(conv: nn.Conv2d) -> bool:
    return conv.groups == conv.in_channels == conv.out_channels


def _pairs(model: nn.Module, image: Tensor) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
    """Convolutions of which only the second takes the first one's output, through a ReLU or directly."""
    trace = trace_of(model, image)
    convs = conv_of(model, trace)
    made: dict[int, nn.Conv2d] = {}
    # A ReLU in place takes a tensor and gives the same one: not a use of its own.
    replaced = Counter(id(args[0]) for args, _ in trace.of(_aten.relu_.default))
    pairs = []
    for function, args, out in trace.calls:
        alone = trace.uses[id(args[0])] == 1 + replaced[id(args[0])] if args else False
        if function is _aten.convolution.default and id(args[1]) in convs:
            first, conv = made.get(id(args[0])), convs[id(args[1])]
            if first is not None and alone and (conv.groups == 1 or _depthwise(conv)):
                pairs.append((first, conv))
            made[id(out)] = conv
        elif function in (_aten.relu.default, _aten.relu_.default) and alone and id(args[0]) in made:
            made[id(out)] = made[id(args[0])]
    return pairs
