"""Base losses: ASL (Ridnik et al. 2021), focal (Lin et al. 2017), two-way (Kobayashi 2023), ZLPR (Su et al. 2022)."""

import torch

from oracles.teacherfree import next_to_bce


def _each(batch, value):
    """Sum over images and labels of ``value(p, true)``, mean over the images."""
    images, labels = batch.targets.shape
    total = 0.0
    for i in range(images):
        for k in range(labels):
            total = total + value(1 / (1 + torch.exp(-batch.student.logits[i, k])), bool(batch.targets[i, k]))
    return total / images


def asl(batch, form, term):
    def value(p, true):
        if true:
            return -(1 - p) * torch.log(p)
        shifted = torch.clamp(p - 0.05, min=0)
        return -(shifted**4) * torch.log(1 - shifted)

    return next_to_bce(_each(batch, value), batch, form)


def focal(batch, form, term):
    def value(p, true):
        return -0.25 * (1 - p) ** 2 * torch.log(p) if true else -0.75 * p**2 * torch.log(1 - p)

    return next_to_bce(_each(batch, value), batch, form)


def _one_way(logits, targets):
    """Mean over the rows that have a positive."""
    values = []
    for row, labels in zip(logits, targets, strict=True):
        if not labels.any():
            continue
        above = sum((torch.exp(z) for z, y in zip(row, labels, strict=True) if not y), torch.tensor(0.0).double())
        below = sum(torch.exp(-z / 4) for z, y in zip(row, labels, strict=True) if y)
        # log(1 + exp(N + P)), with exp(N) and exp(P) as sums: no negative makes it log 1.
        values.append(torch.log(1 + above * below**4))
    return sum(values) / max(1, len(values))


def two_way(batch, form, term):
    logits, targets = batch.student.logits, batch.targets
    return next_to_bce(_one_way(logits, targets) + _one_way(logits.T, targets.T), batch, form)


def zlpr(batch, form, term):
    total = 0.0
    for row, labels in zip(batch.student.logits, batch.targets, strict=True):
        above = sum(torch.exp(z) for z, y in zip(row, labels, strict=True) if not y)
        below = sum(torch.exp(-z) for z, y in zip(row, labels, strict=True) if y)
        total = (
            total + torch.log(1 + above + torch.zeros_like(row[0])) + torch.log(1 + below + torch.zeros_like(row[0]))
        )
    return next_to_bce(total / len(batch.targets), batch, form)


ORACLES = {"asl": asl, "focal": focal, "two-way": two_way, "zlpr": zlpr}
