"""Partial softmax and uncertainty-weighted self-distillation (Song et al. 2021)."""

import math

import torch


def softmax(logits):
    """Probabilities of a list of scalars."""
    highest = max(logits).detach()
    values = [torch.exp(value - highest) for value in logits]
    return [value / sum(values) for value in values]


def kl(p, q):
    """Of two distributions, 0 log 0 = 0."""
    return sum(a * (torch.log(a) - torch.log(b)) for a, b in zip(p, q, strict=True) if a > 0)


def ps(batch, form, term):
    """One softmax per positive label, over itself and the negatives; at temperature 1, the mean over an image's."""
    student, teacher = batch.student.logits, batch.teacher.logits
    images, labels = batch.targets.shape
    total = torch.zeros((), dtype=torch.float64)
    for i in range(images):
        positives = [k for k in range(labels) if batch.targets[i, k]]
        negatives = [k for k in range(labels) if not batch.targets[i, k]]
        for t in positives:
            members = [t, *negatives]
            p, q = (softmax([side[i, k] for k in members]) for side in (teacher, student))
            total = total + kl(p, q) / len(positives)
    return total / images


def ud(batch, form, term):
    """The mean over draws is the target, its entropy in bits the weight of a label."""
    student, samples = batch.student.logits, batch.samples.logits.detach()
    images, labels = batch.targets.shape
    draws = samples.shape[1]
    total = torch.zeros((), dtype=torch.float64)
    for i in range(images):
        for k in range(labels):
            p = sum(1 / (1 + torch.exp(-samples[i, draw, k])) for draw in range(draws)) / draws
            q = 1 / (1 + torch.exp(-student[i, k]))
            entropy = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
            total = total + entropy * kl([p, 1 - p], [q, 1 - q])
    return total / images


ORACLES = {"ps": ps, "ud": ud}
