"""Optimizer and learning-rate schedule of a recipe."""

import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR

from mlkdc.models import parameter_groups
from mlkdc.recipe import Train


def make_optimizer(model: nn.Module, spec: Train) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD; weight decay reaches weights only, not biases and normalization."""
    groups = parameter_groups(model, spec.weight_decay)
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum)
    kind = torch.optim.AdamW if spec.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=spec.lr, fused=True)


def make_schedule(optimizer: torch.optim.Optimizer, spec: Train, steps_per_epoch: int) -> LRScheduler:
    """The learning rate over the whole of ``spec.epochs``, stepped once per optimizer step."""
    steps = spec.epochs * steps_per_epoch
    if spec.schedule == "onecycle" and steps > 3:  # torch divides by the length of a phase, which must not be 0
        cycled = spec.optimizer != "sgd"  # torch's default for Adam, and the L2D release's
        share = max(spec.warmup, 2 / steps)
        return OneCycleLR(optimizer, spec.lr, total_steps=steps, pct_start=share, cycle_momentum=cycled)
    if spec.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    return ConstantLR(optimizer, factor=1.0, total_iters=1)
