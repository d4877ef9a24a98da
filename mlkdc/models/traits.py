"""What training needs to know about a model: its memory layout and which of its parameters decay."""

from collections.abc import Iterable

import torch
from torch import nn

#: What torch's optimizers take: ``params``, ``weight_decay`` and ``lr``.
ParameterGroup = dict[str, list[nn.Parameter] | float]


def prefers_channels_last(model: nn.Module) -> bool:
    """Whether training on a CPU is faster, and safe, with ``torch.channels_last``.

    Not for models without convolutions past the patch embedding, and not for models with a 1x1 convolution of stride
    above 1 on 3 channels, such as RepVGG.
    """
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    # A transformer's only convolution is its patch embedding: there is nothing to gain after it.
    if len(convolutions) < 2:
        return False
    return not any(_crashes_channels_last(convolution) for convolution in convolutions)


def memory_format(model: nn.Module) -> torch.memory_format:
    """The layout of the images that a model computes fastest."""
    if prefers_channels_last(model):
        return torch.channels_last
    return torch.contiguous_format


def _crashes_channels_last(convolution: nn.Conv2d) -> bool:
    # In this layout such a convolution corrupts memory in its backward pass (torch 2.15, CPU).
    reads_rgb_pointwise = convolution.in_channels == 3 and convolution.kernel_size == (1, 1)
    return reads_rgb_pointwise and convolution.stride != (1, 1)


def parameter_groups(parameters: Iterable[nn.Parameter], weight_decay: float, lr: float) -> list[ParameterGroup]:
    """Optimizer groups, as torch's optimizers take them: weights, which decay, and all others, which do not.

    Those that do not are biases and the scales and shifts of normalization: every parameter of one dimension.

    Args:
        parameters: those that do not require a gradient are in no group.
        weight_decay: of the first group; the second has 0.
        lr: the highest learning rate of both.
    """
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for parameter in parameters:
        if not parameter.requires_grad:
            continue
        if parameter.ndim >= 2:
            decayed.append(parameter)
        else:
            undecayed.append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay, "lr": lr},
        {"params": undecayed, "weight_decay": 0.0, "lr": lr},
    ]
