"""MDKD (Wang et al. 2024): every label sequence is enumerated."""

from functools import partial
from itertools import permutations

import torch


def huber(difference):
    """Eq. 5, elementwise."""
    size = difference.abs()
    return torch.where(size <= 1, difference**2 / 2, size - 0.5)


def quadratic(difference):
    """The branch of Eq. 5 for small arguments."""
    return difference**2 / 2


def along_paths(teacher, student, order, loss=huber):
    """The mean of the loss over all label sequences (Eq. 8 and 13) from the order-2 dependencies ``[q, q]``.

    A sequence and its reverse have the same value: the mean over all is the mean over the halves the paper counts.
    """
    paths = torch.tensor(list(permutations(range(len(teacher)), order)))
    if not len(paths):
        return torch.zeros((), dtype=torch.float64)
    steps = range(order - 1)
    of_teacher = sum(teacher[paths[:, i], paths[:, i + 1]] for i in steps) / (order - 1)
    of_student = sum(student[paths[:, i], paths[:, i + 1]] for i in steps) / (order - 1)
    return loss(of_teacher - of_student).mean()


def table(labels, entry):
    """``[q, q]`` from a function of two labels."""
    return torch.stack([torch.stack([entry(k, m) for m in range(labels)]) for k in range(labels)])


def _probabilities(batch):
    return [1 / (1 + torch.exp(-side.logits.double())) for side in (batch.teacher, batch.student)]


def instance_level(batch, form, term, order):
    """Eq. 10-13."""
    teacher, student = _probabilities(batch)
    images, labels = batch.targets.shape
    total = torch.zeros((), dtype=torch.float64)
    for i in range(images):
        ours, theirs = (table(labels, lambda k, m, p=p[i]: (p[k] - p[m]) ** 2) for p in (student, teacher))
        total = total + along_paths(theirs, ours, order)
    return total / images


def printed(p):
    """Eq. 4 as printed."""
    images, labels = p.shape
    return table(labels, lambda k, m: (sum(p[:, k]) - sum(p[:, m])) ** 2 / images)


def batch_level(batch, form, term, order):
    """Eq. 4-8. Eq. 4 as the text's mean square difference, or as printed.

    As printed, the dependencies may differ by more than 1. From order 3 on the term is documented to stay on the
    quadratic branch there, which is the Huber loss itself as long as no sequence's difference exceeds 1.
    """
    teacher, student = _probabilities(batch)
    if form == "literal":
        loss = huber if order == 2 else quadratic
        return along_paths(printed(teacher), printed(student), order, loss)
    labels = batch.targets.shape[1]
    ours, theirs = (
        table(labels, lambda k, m, p=p: sum((row[k] - row[m]) ** 2 for row in p) / len(p)) for p in (student, teacher)
    )
    return along_paths(theirs, ours, order)


ORACLES = {f"bd{n}": partial(batch_level, order=n) for n in range(2, 7)}
ORACLES |= {f"id{n}": partial(instance_level, order=n) for n in range(2, 7)}
