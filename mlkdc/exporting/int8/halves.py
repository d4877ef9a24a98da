"""Two halves of the images, each with its part of every label's positives."""

import hashlib

import numpy as np


def halves(pixels: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Which images are in the second half: ``bool[n]``.

    By iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011): again and again, of the label that is the
    rarest among what is left, each image goes to the half that has fewer positives of it, or fewer images where both
    have as many. The images of a label come in the order of a hash of their pixels, so that neighbors in a file are no
    pairs, and the same images are divided in the same way every time, wherever they lie.

    Args:
        pixels: of ``n`` images, ``[n, ...]``.
        targets: ``uint8[n, q]``.
    """
    order = sorted(range(len(pixels)), key=lambda row: hashlib.sha256(pixels[row].tobytes()).digest())
    half = np.full(len(pixels), -1)
    while (label := _rarest(targets[half < 0])) is not None:
        for row in order:
            if targets[row, label] and half[row] < 0:
                half[row] = _emptier(half, targets[:, label] > 0)
    for row in order:
        if half[row] < 0:
            half[row] = _emptier(half, np.ones(len(pixels), dtype=bool))
    second: np.ndarray = half == 1
    return second


def _rarest(targets: np.ndarray) -> int | None:
    """The label with the fewest positives of those that have any."""
    positives = targets.sum(0)
    if not positives.any():
        return None
    return int(np.where(positives > 0, positives, len(targets) + 1).argmin())


def _emptier(half: np.ndarray, positive: np.ndarray) -> int:
    """The half with fewer of the positive images, else with fewer images."""
    first, second = half == 0, half == 1
    ahead = int((positive & second).sum()) - int((positive & first).sum())
    if ahead == 0:
        ahead = int(second.sum()) - int(first.sum())
    return int(ahead < 0)
