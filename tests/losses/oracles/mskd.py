"""MSKD (Wang et al. 2025)."""

import torch

# Of MBD: tau, omega, gamma+ and gamma-. Of RSD: the rounds of propagation (table 4).
TEMPERATURE = 4
OMEGA = 0.5
POSITIVE, NEGATIVE = 1 / 4, 1
ROUNDS = 2


def partial_softmaxes(logits, targets):
    """Eq. 13 for one image, read as the mean of proper softmaxes over a positive and all negatives."""
    positives = [k for k in range(len(logits)) if targets[k]]
    negatives = [k for k in range(len(logits)) if not targets[k]]
    result = [torch.zeros((), dtype=torch.float64)] * len(logits)
    for t in positives:
        members = [t, *negatives]
        highest = max(logits[k] for k in members).detach()
        total = sum(torch.exp(logits[k] - highest) for k in members)
        for k in members:
            result[k] = result[k] + torch.exp(logits[k] - highest) / total / len(positives)
    return result


def _power(value, exponent):
    """abs(value)^exponent; at 0 (to rounding) the derivative is taken as 0."""
    return abs(value.detach() if abs(value) < 1e-6 else value) ** exponent


def balanced(teacher, student, targets):
    """Eq. 14-16, summed over images; gradients flow through the weights, as printed."""
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(targets)):
        if not any(targets[i]):
            continue
        p = partial_softmaxes(teacher[i] / TEMPERATURE, targets[i])
        q = partial_softmaxes(student[i] / TEMPERATURE, targets[i])
        for k in range(targets.shape[1]):
            if targets[i, k]:
                weight = _power((1 - OMEGA) + OMEGA * p[k] - q[k], POSITIVE)
            else:
                weight = _power(OMEGA * p[k] - q[k], NEGATIVE)
            total = total + weight * p[k] * torch.log(p[k] / q[k])
    return total * TEMPERATURE**2


def mbd(batch, form, term):
    """Eq. 16 between a teacher and the student."""
    return balanced(batch.teacher.logits.detach(), batch.student.logits, batch.targets)


def ssd(batch, form, term):
    """Eq. 9."""
    return balanced(batch.previous.logits.detach(), batch.student.logits, batch.targets)


def pseudo_labels(patches, full, beta):
    """Eq. 5; an entry as large (small) as the last of the largest (smallest) is one of them; in both, it gets 0."""
    images, count, labels = patches.shape
    places = [(i, s, k) for i in range(images) for s in range(count) for k in range(labels)]
    gaps = {(i, s, k): float(patches[i, s, k] - full[i, k]) for i, s, k in places}
    marks = torch.zeros_like(patches)
    if beta:
        ordered = sorted(gaps.values())
        for place, gap in gaps.items():
            marks[place] = int(gap >= ordered[-beta]) - int(gap <= ordered[beta - 1])
    return marks


def propagated(patches, marks):
    """Eq. 6-7 for one image: ``[S, q]``."""
    count = len(patches)
    edges = [[torch.linalg.vector_norm(patches[j] - patches[k]) for k in range(count)] for j in range(count)]
    largest = max(max(row) for row in edges)
    if largest > 0:
        edges = [[edge / largest for edge in row] for row in edges]
    for j in range(count):
        edges[j][j] = edges[j][j] + 1
    degree = [sum(row) for row in edges]
    for _ in range(ROUNDS):
        following = torch.zeros_like(marks)
        for j in range(count):
            for k in range(count):
                following[j] += edges[j][k] / (degree[j] * degree[k]) ** 0.5 * marks[k]
        marks = following
    return marks


def reconstructed(patches, full, targets):
    """The target logits ``[b, q]`` of Eq. 8."""
    marks = pseudo_labels(patches, full, int((targets > 0).sum()))
    result = torch.zeros_like(full)
    for i in range(len(full)):
        scores = propagated(patches[i], marks[i])
        for k in range(full.shape[1]):
            weights = torch.exp(scores[:, k])
            result[i, k] = sum(weights * patches[i, :, k]) / sum(weights)
    return result


def rsd(batch, form, term):
    """Eq. 8."""
    student, patches = batch.student.logits, batch.patches.logits.detach()
    target = reconstructed(patches, student.detach(), batch.targets)
    return balanced(target, student, batch.targets)


def relations(vectors):
    """Eq. 3: all distances, divided by the mean of the positive ones."""
    zero = torch.zeros((), dtype=torch.float64)
    entries = [[zero if bool((a == b).all()) else torch.linalg.vector_norm(a - b) for b in vectors] for a in vectors]
    positive = [entry for row in entries for entry in row if entry > 0]
    mean = sum(positive) / len(positive) if positive else 1
    return [[entry / mean for entry in row] for row in entries]


def mean_huber(ours, theirs):
    """Delta 1."""
    total = torch.zeros((), dtype=torch.float64)
    for row, other in zip(ours, theirs, strict=True):
        for a, b in zip(row, other, strict=True):
            gap = abs(a - b)
            total = total + (gap**2 / 2 if gap <= 1 else gap - 0.5)
    return total / len(ours) ** 2


def lsd(batch, form, term):
    """Eq. 4."""
    regions, patches = batch.student.regions, batch.patches.logits.detach()
    images, count = regions.shape[:2]
    total = torch.zeros((), dtype=torch.float64)
    for i in range(images):
        total = total + mean_huber(relations(list(regions[i])), relations(list(patches[i]))) / images
    ours, theirs = (
        [sum(side[i, s] for s in range(count)) / count for i in range(images)] for side in (regions, patches)
    )
    return total + mean_huber(relations(ours), relations(theirs))


def in_form(printed):
    """The printed loss sums over images; in form ``paper`` all of it is divided by their number."""

    def oracle(batch, form, term):
        return printed(batch, form, term) / (len(batch.targets) if form == "paper" else 1)

    return oracle


ORACLES = {"mbd": in_form(mbd), "ssd": in_form(ssd), "rsd": in_form(rsd), "lsd": in_form(lsd)}
