"""Cross-layer equalization: the same function, with weights that lose less in eight bits."""

from collections import Counter

import torch
from torch import Tensor, nn

from mlkdc.exporting.merging.trace import CONVOLUTION, Trace, convolutions, trace_of

_aten = torch.ops.aten
_RELUS = (_aten.relu.default, _aten.relu_.default)
ROUNDS = 20
# Of the logarithm of a factor: below this another round changes nothing that eight bits could see.
CONVERGED = 1e-3
# Of the largest weight: a channel below this is one that training has switched off, and has its bias alone. That would
# grow by as much as its weights, and set the range of all channels.
SWITCHED_OFF = 1e-5

Pair = tuple[nn.Conv2d, nn.Conv2d]


@torch.no_grad()
def equalize(model: nn.Module, image: Tensor) -> int:
    """Even out, in place, the ranges of channels between convolutions (Nagel et al. 2019, section 4.1).

    For a convolution, a ReLU and a convolution, channel i of the first may be divided and of the second multiplied by
    s_i = sqrt(r1_i r2_i) / r2_i, with r the largest absolute weight of the channel: a ReLU passes a positive factor
    on. Repeated until the factors are near 1. Other activations (ReLU6, Hardswish) do not, and are skipped.

    Args:
        model: merged, in eval mode, called with ``image``.
        image: ``float[1, 3, s, s]`` for the forward pass that is watched.

    Returns:
        The number of pairs.
    """
    pairs = _pairs(model, image)
    # A convolution is the second of one pair and the first of the next, so that each round undoes a part of the last.
    for _ in range(ROUNDS):
        largest = 0.0
        for first, second in pairs:
            scale = _scale(first, second)
            _move(scale, first, second)
            largest = max(largest, scale.log().abs().max().item())
        if largest < CONVERGED:
            break
    return len(pairs)


def _scale(first: nn.Conv2d, second: nn.Conv2d) -> Tensor:
    """``float[c]``; 1 for a channel that is zero on one side, or nearly so where it is made."""
    output_ranges = first.weight.abs().amax((1, 2, 3))
    input_ranges = second.weight.abs().amax((1, 2, 3) if second.groups > 1 else (0, 2, 3))
    scale = (output_ranges / input_ranges).sqrt()
    used = scale.isfinite() & (scale > 0) & (output_ranges > SWITCHED_OFF * output_ranges.max())
    return torch.where(used, scale, torch.ones_like(scale))


def _move(scale: Tensor, first: nn.Conv2d, second: nn.Conv2d) -> None:
    """Divide the first convolution's output channels by ``scale`` and multiply what the second takes of them."""
    first.weight.div_(scale.view(-1, 1, 1, 1))
    if first.bias is not None:
        first.bias.div_(scale)
    if second.groups > 1:  # depthwise: its output channel i takes input channel i alone
        second.weight.mul_(scale.view(-1, 1, 1, 1))
    else:
        second.weight.mul_(scale.view(1, -1, 1, 1))


def _is_depthwise(conv: nn.Conv2d) -> bool:
    return conv.groups == conv.in_channels == conv.out_channels


def _pairs(model: nn.Module, image: Tensor) -> list[Pair]:
    """Convolutions of which only the second takes the first one's output, through a ReLU or directly."""
    trace = trace_of(model, image)
    by_weight = convolutions(model, trace)
    rewritten = _rewritten(trace)
    makers: dict[int, nn.Conv2d] = {}
    pairs = []
    for operator, arguments, output in trace.calls:
        if not arguments:
            continue
        source = id(arguments[0])
        alone = trace.uses[source] == 1 + rewritten[source]
        if operator is CONVOLUTION and id(arguments[1]) in by_weight:
            conv = by_weight[id(arguments[1])]
            if alone and source in makers and (conv.groups == 1 or _is_depthwise(conv)):
                pairs.append((makers[source], conv))
            makers[id(output)] = conv
        elif operator in _RELUS and alone and source in makers:
            makers[id(output)] = makers[source]
    return pairs


def _rewritten(trace: Trace) -> Counter[int]:
    """How often a ReLU in place takes each tensor. It gives the same tensor, so that this is no use of another kind."""
    return Counter(id(call.arguments[0]) for call in trace.of(_aten.relu_.default))
