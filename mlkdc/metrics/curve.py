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


def precision_recall(truth: np.ndarray, probabilities: np.ndarray) -> PrecisionRecall:
    """The curve of one class; scikit-learn's ``precision_recall_curve`` without the end point (1, 0) that it adds.

    Args:
        truth: ``bool[n]``, at least one of them true.
        probabilities: ``float64[n]``.
    """
    descending = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[descending]
    # Images of equal probability get the label together: a threshold counts all up to the last of them.
    last_of_equals = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    correct = np.cumsum(truth[descending], dtype=np.float64)[last_of_equals]
    predicted = last_of_equals + 1
    return PrecisionRecall(
        thresholds=ranked[last_of_equals][::-1],
        precision=(correct / predicted)[::-1],
        recall=(correct / correct[-1])[::-1],
    )
