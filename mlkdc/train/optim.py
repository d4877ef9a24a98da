"""Optimizer and learning-rate schedule of a recipe."""

import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR

from mlkdc.models import parameter_groups
from mlkdc.recipe import Train

# With fewer steps a phase of torch's one-cycle schedule can have length 0, by which it divides.
FEWEST_CYCLE_STEPS = 4


def make_optimizer(model: nn.Module, spec: Train) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD; weight decay applies to weights only, not to biases and normalization."""
    groups = parameter_groups(model, spec.weight_decay)
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum)
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=spec.lr, fused=True)
    return torch.optim.Adam(groups, lr=spec.lr, fused=True)


def make_schedule(optimizer: torch.optim.Optimizer, spec: Train, steps_per_epoch: int) -> LRScheduler:
    """The learning rate over all of ``spec.epochs``, stepped once per optimizer step."""
    steps = spec.epochs * steps_per_epoch
    if spec.schedule == "onecycle" and steps >= FEWEST_CYCLE_STEPS:
        rising = max(spec.warmup, 2 / steps)
        # Cycling the momentum too is torch's default for Adam, and what the L2D release does.
        cycle_momentum = spec.optimizer != "sgd"
        return OneCycleLR(optimizer, spec.lr, total_steps=steps, pct_start=rising, cycle_momentum=cycle_momentum)
    if spec.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    return ConstantLR(optimizer, factor=1.0, total_iters=1)
