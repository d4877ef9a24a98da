"""Thresholds that can be trusted: tuned per class only where there are images enough to tune on."""

from dataclasses import dataclass

import numpy as np

from mlkdc.metrics.decision import tune_thresholds
from mlkdc.metrics.inputs import checked

FEWEST = 5
"""Images that a class must have with its label, and without, for a threshold of its own.

The threshold with the best F1 on fewer is where these few happen to lie: at the lowest probability of three images that
all have the label, next to zero.
"""

UNTUNED = 0.5


@dataclass(frozen=True)
class Tuned:
    """The thresholds of q classes, ``float64[q]``, and how many of the classes share one."""

    thresholds: np.ndarray
    sharing: int


def tune(targets: np.ndarray, probabilities: np.ndarray) -> Tuned:
    """The threshold of each class with the best F1; of classes with few images, the one with the best OF1 of all.

    Where all classes together have fewer than ``FEWEST`` labels given or not given, the latter is 0.5.

    Args:
        targets: ``uint8[n, q]`` of zeros and ones; validation images, never those that are scored later.
        probabilities: ``float[n, q]``.

    Raises:
        ValueError, MlkdcError: as :func:`mlkdc.metrics.inputs.checked`.
    """
    truth, scores = checked(targets, probabilities)
    thresholds = tune_thresholds(targets, probabilities)
    few = _lacks_images(truth)
    if few.any():
        thresholds[few] = _shared(truth, scores)
    return Tuned(thresholds, int(few.sum()))


def _lacks_images(truth: np.ndarray) -> np.ndarray:
    """``bool[q]`` from ``bool[n, q]``."""
    positives = truth.sum(axis=0)
    lacks: np.ndarray = np.minimum(positives, len(truth) - positives) < FEWEST
    return lacks


def _shared(truth: np.ndarray, scores: np.ndarray) -> float:
    pooled, pooled_scores = truth.reshape(-1, 1), scores.reshape(-1, 1)
    if _lacks_images(pooled).any():
        return UNTUNED
    return float(tune_thresholds(pooled, pooled_scores)[0])
