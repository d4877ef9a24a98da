"""MulSupCon (Zhang and Wu 2024) within one batch."""

import torch

from oracles.teacherfree import next_to_bce


def mulsupcon(batch, form, term):
    images, labels = batch.targets.shape
    projected = term.layers(batch.student.pooled)
    projected = [row / torch.sqrt((row**2).sum()) for row in projected]
    losses = []
    for i in range(images):
        others = [j for j in range(images) if j != i]
        alike = {j: torch.dot(projected[i], projected[j]) / 0.1 for j in others}
        for k in range(labels):
            positives = [j for j in others if batch.targets[j, k]]
            if not batch.targets[i, k] or not positives:
                continue
            below = sum(torch.exp(alike[j]) for j in others)
            losses.append(-sum(torch.log(torch.exp(alike[j]) / below) for j in positives) / len(positives))
    return next_to_bce(sum(losses) / len(losses) if losses else 0.0, batch, form)


ORACLES = {"mulsupcon": mulsupcon}
