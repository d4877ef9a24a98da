"""DDGSD (Xu and Liu 2019), one Bernoulli distribution per label."""

import torch

from oracles.teacherfree import kl, next_to_bce, softened


def twin_bce(batch, form, term):
    images, labels = batch.targets.shape
    total = 0.0
    for i in range(images):
        for k in range(labels):
            p = softened(batch.twin.logits[i, k], 1)
            total = total - (torch.log(p) if batch.targets[i, k] else torch.log(1 - p))
    return next_to_bce(total / images, batch, form)


def twin_kl(batch, form, term):
    images, labels = batch.targets.shape
    total = 0.0
    for i in range(images):
        for k in range(labels):
            p, q = (softened(side.logits[i, k], 3) for side in (batch.student, batch.twin))
            total = total + 3**2 * (kl(p, q) + kl(q, p))
    return next_to_bce(total / images, batch, form)


def mmd(batch, form, term):
    images, channels = batch.student.pooled.shape
    total = 0.0
    for c in range(channels):
        first = sum(batch.student.pooled[i, c] for i in range(images)) / images
        second = sum(batch.twin.pooled[i, c] for i in range(images)) / images
        total = total + (first - second) ** 2
    return next_to_bce(total, batch, form)


ORACLES = {"twin_bce": twin_bce, "twin_kl": twin_kl, "mmd": mmd}
