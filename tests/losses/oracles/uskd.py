"""USKD (Yang et al. 2023) with several true labels per image."""

import torch

from oracles.teacherfree import next_to_bce, softened


def _softmax_at(logits, k, classes):
    """The softmax over some classes, at one of them."""
    return torch.exp(logits[k]) / sum(torch.exp(logits[j]) for j in classes)


def _target(strong, targets):
    true = [(i, k) for i in range(targets.shape[0]) for k in range(targets.shape[1]) if targets[i, k]]
    squares = [softened(strong[i, k].detach(), 1) ** 2 for i, k in true]
    total = 0.0
    for square, (i, k) in zip(squares, true, strict=True):
        label = square + 1 - sum(squares) / len(squares)
        total = total - label * torch.log(softened(strong[i, k], 1))
    return total


def _nontarget(strong, weak, targets):
    total = 0.0
    for i in range(targets.shape[0]):
        false = [k for k in range(targets.shape[1]) if not targets[i, k]]
        sides = strong[i].detach(), weak[i].detach()
        score = {k: sum(float(_softmax_at(side, k, false)) for side in sides) for k in false}
        best_first = sorted(false, key=lambda k: -score[k])
        harmonic = sum(1 / rank for rank in range(1, len(false) + 1))
        for rank, k in enumerate(best_first, 1):
            total = total - (1 / rank / harmonic) * torch.log(_softmax_at(strong[i], k, false))
    return total


def _weak(weak, targets):
    total = 0.0
    for i in range(targets.shape[0]):
        for k in range(targets.shape[1]):
            label = 0.95 if targets[i, k] else 0.05
            p = softened(weak[i, k], 1)
            total = total - label * torch.log(p) - (1 - label) * torch.log(1 - p)
    return total


def uskd(batch, form, term):
    stage = batch.student.stages[-2]
    images, _, height, width = stage.shape
    pooled = sum(stage[:, :, y, x] for y in range(height) for x in range(width)) / (height * width)
    strong, weak = batch.student.logits, term.layers(pooled)
    total = _target(strong, batch.targets) + 0.1 * _nontarget(strong, weak, batch.targets)
    return next_to_bce((total + 0.005 * _weak(weak, batch.targets)) / images, batch, form)


ORACLES = {"uskd": uskd}
