"""BCE and L2D (Yang et al. 2023)."""

import torch


def bce(batch, form, term):
    """L2D Eq. 1; the release omits the 1/b."""
    logits, total = batch.student.logits.double(), 0.0
    images, labels = batch.targets.shape
    for i in range(images):
        for k in range(labels):
            p = 1 / (1 + torch.exp(-logits[i, k]))
            total = total - (torch.log(p) if batch.targets[i, k] else torch.log(1 - p))
    return total / images if form == "paper" else total


def mld(batch, form, term):
    """L2D Eq. 3."""
    student, teacher, total = batch.student.logits.double(), batch.teacher.logits.double(), 0.0
    images, labels = batch.targets.shape
    for i in range(images):
        for k in range(labels):
            p_s = 1 / (1 + torch.exp(-student[i, k]))
            p_t = 1 / (1 + torch.exp(-teacher[i, k]))
            total = total + p_t * torch.log(p_t / p_s) + (1 - p_t) * torch.log((1 - p_t) / (1 - p_s))
    return total / images


def huber(a, b):
    """L2D Eq. 6."""
    gap = abs(a - b)
    return gap**2 / 2 if gap <= 1 else gap - 0.5


def _unpacked(targets, packed):
    """Embeddings by (image, class)."""
    places = [(i, k) for i in range(targets.shape[0]) for k in range(targets.shape[1]) if targets[i, k]]
    assert len(places) == len(packed)
    return dict(zip(places, packed.double(), strict=True))


def _distances(members, form):
    """All n x n distances; the release divides them by their mean off the diagonal."""
    n = len(members)
    table = [[torch.linalg.vector_norm(members[i] - members[j]) for j in range(n)] for i in range(n)]
    if form == "paper":
        return table
    mean = sum(table[i][j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return [[entry / mean if mean > 0 else entry for entry in row] for row in table]


def _relation(groups, form):
    total = torch.zeros((), dtype=torch.float64)
    for students, teachers in groups:
        n = len(students)
        if n < 2:
            continue
        ours, theirs = _distances(students, form), _distances(teachers, form)
        loss = sum(huber(theirs[i][j], ours[i][j]) for i in range(n) for j in range(n))
        total = total + (loss if form == "paper" else loss / n)
    return total


def cd(batch, form, term):
    """L2D Eq. 4-6."""
    student = _unpacked(batch.targets, batch.student.embeddings)
    teacher = _unpacked(batch.targets, batch.teacher.embeddings)
    images, labels = batch.targets.shape
    groups = []
    for k in range(labels):
        with_k = [i for i in range(images) if batch.targets[i, k]]
        groups.append(([student[i, k] for i in with_k], [teacher[i, k] for i in with_k]))
    return _relation(groups, form)


def id_(batch, form, term):
    """L2D Eq. 6-8."""
    student = _unpacked(batch.targets, batch.student.embeddings)
    teacher = _unpacked(batch.targets, batch.teacher.embeddings)
    images, labels = batch.targets.shape
    groups = []
    for i in range(images):
        of_i = [k for k in range(labels) if batch.targets[i, k]]
        groups.append(([student[i, k] for k in of_i], [teacher[i, k] for k in of_i]))
    return _relation(groups, form)


ORACLES = {"bce": bce, "mld": mld, "cd": cd, "id": id_}
