"""Metrics of the order of probabilities: average precision per class, the best label per image."""

import numpy as np

from mlkdc.metrics.curve import precision_recall, ranking
from mlkdc.metrics.inputs import checked


def average_precision(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Average precision of each class, as in scikit-learn: sum over thresholds of (R_i - R_(i-1)) P_i.

    Args:
        targets: ``uint8[n, q]`` of zeros and ones.
        scores: ``float[n, q]`` probabilities.

    Returns:
        ``float64[q]`` in 0..1; NaN for a class without a positive image, whose AP is not defined.

    Raises:
        ValueError, MlkdcError: as :func:`mlkdc.metrics.inputs.checked`.
    """
    truth, probabilities = checked(targets, scores)
    values = np.full(truth.shape[1], np.nan)
    for label in np.flatnonzero(truth.any(axis=0)):
        curve = precision_recall(truth[:, label], probabilities[:, label])
        recall_gained = -np.diff(curve.recall, append=0)
        values[label] = np.sum(recall_gained * curve.precision)
    return values


def drawn_average_precision(targets: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """:func:`average_precision` of each of ``d`` draws of images with replacement, which are ranked only once.

    Args:
        targets: ``uint8[n, q]`` of zeros and ones.
        scores: ``float[n, q]`` probabilities.
        counts: ``int[d, n]``, how often each image is drawn.

    Returns:
        ``float64[d, q]`` in 0..1; NaN where no image of the class is drawn.

    Raises:
        ValueError, MlkdcError: as :func:`mlkdc.metrics.inputs.checked`.
    """
    truth, probabilities = checked(targets, scores)
    values = np.full((len(counts), truth.shape[1]), np.nan)
    for label in np.flatnonzero(truth.any(axis=0)):
        descending, last_of_equals = ranking(probabilities[:, label])
        drawn = counts[:, descending]
        predicted = drawn.cumsum(axis=1)[:, last_of_equals]
        correct = (drawn * truth[descending, label]).cumsum(axis=1)[:, last_of_equals]
        gained = np.diff(correct, axis=1, prepend=0)
        with np.errstate(invalid="ignore"):  # no image of the class
            values[:, label] = (gained * correct / np.maximum(predicted, 1)).sum(axis=1) / correct[:, -1]
    return values


def top1(truth: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """P@1 and R@1 in 0..1: is the most probable label of an image right, and what fraction of its labels is that.

    Averaged over the images that have a label at all (there is at least one, or the result is NaN).

    Args:
        truth: ``bool[n, q]``.
        probabilities: ``float[n, q]``.
    """
    labeled = truth.any(axis=1)
    truth, probabilities = truth[labeled], probabilities[labeled]
    hits = truth[np.arange(len(truth)), probabilities.argmax(axis=1)]
    return float(hits.mean()), float((hits / truth.sum(axis=1)).mean())
