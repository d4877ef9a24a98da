"""Precision and recall of one class at every threshold that matters."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall in 0..1 where a label is given when its probability is at least the threshold.

    Args:
        thresholds: every distinct probability, ascending, ``float64[t]``.
        precision: at each of them, ``float64[t]``.
        recall: at each of them, ``float64[t]``; descending, the first is 1.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def ranking(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The images from the most probable down, and the last place of each group of equals.

    Images of equal probability get the label together: a threshold counts all up to the last of them.
    """
    descending = np.argsort(-probabilities, kind="stable")
    last_of_equals = np.append(np.flatnonzero(np.diff(probabilities[descending])), len(descending) - 1)
    return descending, last_of_equals


def precision_recall(truth: np.ndarray, probabilities: np.ndarray) -> PrecisionRecall:
    """The curve of one class; scikit-learn's ``precision_recall_curve`` without the end point (1, 0) that it adds.

    Args:
        truth: ``bool[n]``, at least one of them true.
        probabilities: ``float64[n]``.
    """
    descending, last_of_equals = ranking(probabilities)
    correct = np.cumsum(truth[descending], dtype=np.float64)[last_of_equals]
    predicted = last_of_equals + 1
    return PrecisionRecall(
        thresholds=probabilities[descending[last_of_equals]][::-1],
        precision=(correct / predicted)[::-1],
        recall=(correct / correct[-1])[::-1],
    )
