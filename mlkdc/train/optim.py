"""Optimizer and learning-rate schedule of a recipe."""

import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR

from mlkdc.models import ParameterGroup, parameter_groups
from mlkdc.recipe import Train

# With fewer steps a phase of torch's one-cycle schedule can have length 0, by which it divides.
FEWEST_CYCLE_STEPS = 4


def make_optimizer(model: nn.Module, backbone: nn.Module, spec: Train) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD; weight decay applies to weights only, not to biases and normalization.

    Args:
        model: all that is trained.
        backbone: the part of it that has a rate of its own, ``spec.backbone_lr`` times that of the rest.
        spec: how to optimize.

    Returns:
        Its first group of parameters has the rate of the rest.
    """
    groups = _groups(model, backbone, spec)
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum)
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=spec.lr, fused=True)
    return torch.optim.Adam(groups, lr=spec.lr, fused=True)


def _groups(model: nn.Module, backbone: nn.Module, spec: Train) -> list[ParameterGroup]:
    if spec.backbone_lr == 1:
        return parameter_groups(model.parameters(), spec.weight_decay, spec.lr)
    own_rate = set(backbone.parameters())
    rest = [parameter for parameter in model.parameters() if parameter not in own_rate]
    groups = parameter_groups(rest, spec.weight_decay, spec.lr)
    return groups + parameter_groups(backbone.parameters(), spec.weight_decay, spec.backbone_lr * spec.lr)


def make_schedule(optimizer: torch.optim.Optimizer, spec: Train, steps_per_epoch: int) -> LRScheduler:
    """The learning rate over all of ``spec.epochs``, stepped once per optimizer step: of each group, by its own."""
    steps = spec.epochs * steps_per_epoch
    if spec.schedule == "onecycle" and steps >= FEWEST_CYCLE_STEPS:
        rising = max(spec.warmup, 2 / steps)
        # Cycling the momentum too is torch's default for Adam, and what the L2D release does.
        cycle_momentum = spec.optimizer != "sgd"
        highest = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, highest, total_steps=steps, pct_start=rising, cycle_momentum=cycle_momentum)
    if spec.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    return ConstantLR(optimizer, factor=1.0, total_iters=1)
