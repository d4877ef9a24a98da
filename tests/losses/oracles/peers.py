"""Squared error of logits, RKD (Park et al. 2019) and PKT (Passalis and Tefas 2018)."""

import torch

from oracles.l2d import huber

ZERO = torch.zeros((), dtype=torch.float64)


def mse(batch, form, term):
    """Xu et al. 2022: the sum of squared differences; per image in form paper."""
    student, teacher, total = batch.student.logits, batch.teacher.logits, ZERO
    images, labels = batch.targets.shape
    for i in range(images):
        for k in range(labels):
            total = total + (student[i, k] - teacher[i, k]) ** 2
    return total / images if form == "paper" else total


def _norm(vector):
    """Euclidean; at zero it has no gradient."""
    return vector.square().sum().sqrt() if vector.detach().any() else ZERO


def _table(vectors):
    """RKD's distance-wise potential: distances over their mean above zero."""
    n = len(vectors)
    table = [[_norm(vectors[i] - vectors[j]) for j in range(n)] for i in range(n)]
    above = [entry for row in table for entry in row if entry > 0]
    mean = sum(above) / len(above) if above else 1
    return [[entry / mean for entry in row] for row in table]


def rkd_d(batch, form, term):
    """RKD's distance-wise loss, averaged over all entries."""
    student, teacher = _table(batch.student.pooled), _table(batch.teacher.pooled)
    n, total = len(student), ZERO
    for i in range(n):
        for j in range(n):
            total = total + huber(student[i][j], teacher[i][j])
    return total / n**2


def _cosine(vectors, i, j, k):
    """RKD's angle-wise potential: the cosine of the angle that j and k form at i."""
    first, second = vectors[j] - vectors[i], vectors[k] - vectors[i]
    lengths = _norm(first) * _norm(second)
    return (first * second).sum() / lengths if lengths > 0 else ZERO


def rkd_a(batch, form, term):
    """RKD's angle-wise loss, averaged over all triplets."""
    n, total = len(batch.targets), ZERO
    for i in range(n):
        for j in range(n):
            for k in range(n):
                student, teacher = _cosine(batch.student.pooled, i, j, k), _cosine(batch.teacher.pooled, i, j, k)
                total = total + huber(student, teacher)
    return total / n**3


def _conditional(vectors):
    """PKT's conditional probabilities with the cosine kernel."""
    n = len(vectors)
    kernel = [[ZERO + 1 for _ in range(n)] for _ in range(n)]
    for i in range(n):
        for j in range(n):
            if i != j and not torch.equal(vectors[i], vectors[j]):
                lengths = _norm(vectors[i]) * _norm(vectors[j])
                cosine = (vectors[i] * vectors[j]).sum() / lengths if lengths > 0 else ZERO
                kernel[i][j] = (1 + cosine) / 2
    return [[entry / sum(row) for entry in row] for row in kernel]


def pkt(batch, form, term):
    """PKT's divergence, as the authors' code has it."""
    student, teacher = _conditional(batch.student.pooled), _conditional(batch.teacher.pooled)
    n, total = len(student), ZERO
    for i in range(n):
        for j in range(n):
            total = total + teacher[i][j] * torch.log((teacher[i][j] + 1e-7) / (student[i][j] + 1e-7))
    return total / n**2


ORACLES = {"mse": mse, "rkd_d": rkd_d, "rkd_a": rkd_a, "pkt": pkt}
