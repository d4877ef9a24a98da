"""Two halves of the images, each with its part of every label's positives."""

import hashlib
from collections.abc import Sequence

import numpy as np


def halves(names: Sequence[str], targets: np.ndarray) -> np.ndarray:
    """Which images are in the second half: ``bool[n]``.

    By iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011): of the labels the rarest first, each of its
    images goes to the half that has fewer positives of it, or fewer images where both have as many. The images of a
    label come in the order of a hash of their names, so that neighbors in a file are no pairs, and the same images are
    divided in the same way every time.

    Args:
        names: of the images.
        targets: ``uint8[n, q]``.
    """
    order = sorted(range(len(names)), key=lambda row: hashlib.sha256(names[row].encode()).digest())
    half = np.full(len(names), -1)
    for label in np.argsort(targets.sum(0), kind="stable"):
        for row in order:
            if targets[row, label] and half[row] < 0:
                half[row] = _emptier(half, targets[:, label] > 0)
    for row in order:
        if half[row] < 0:
            half[row] = _emptier(half, np.ones(len(names), dtype=bool))
    second: np.ndarray = half == 1
    return second


def _emptier(half: np.ndarray, positive: np.ndarray) -> int:
    """The half with fewer of the positive images, else with fewer images."""
    first, second = half == 0, half == 1
    ahead = int((positive & second).sum()) - int((positive & first).sum())
    if ahead == 0:
        ahead = int(second.sum()) - int(first.sum())
    return int(ahead < 0)
