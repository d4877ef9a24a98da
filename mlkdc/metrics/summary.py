"""The metrics of one split as results.json and the comparison of an artifact record them."""

import numpy as np

from mlkdc.metrics.scores import evaluate
from mlkdc.records.results import ClassScore, Scores
from mlkdc.types import TaggedImages


def summarize(
    data: TaggedImages, split: str, probabilities: np.ndarray, thresholds: np.ndarray, thresholds_from: str
) -> Scores:
    """Metrics of the probabilities for the images of a split, overall and per class.

    Args:
        data: whose labels are the targets.
        split: which of its splits.
        probabilities: ``float[n, q]``, in the order of the split's images and of the data's classes.
        thresholds: ``float[q]``.
        thresholds_from: what the thresholds were tuned on: a split, or the manifest they come from.

    Raises:
        UsageError, MlkdcError, ValueError: as :func:`mlkdc.metrics.evaluate`.
    """
    targets = data.targets(split)
    evaluation = evaluate(targets, probabilities, thresholds)
    limits = np.asarray(thresholds, dtype=np.float64).tolist()
    positives = targets.sum(axis=0, dtype=int).tolist()
    per_class = []
    for name, ap, count, threshold in zip(data.classes, evaluation.per_class_ap, positives, limits, strict=True):
        per_class.append(ClassScore(name=name, ap_percent=ap, positives=count, threshold=threshold))
    return Scores(
        scored_on=split,
        thresholds_from=thresholds_from,
        thresholds=tuple(limits),
        metrics=evaluation.summary,
        classes_without_positive=evaluation.classes_without_positive,
        per_class=tuple(per_class),
        images=len(targets),
    )
