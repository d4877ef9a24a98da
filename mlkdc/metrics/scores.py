"""All metrics of one model on one split."""

from dataclasses import dataclass

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.metrics.decision import Counts, decide_true_count
from mlkdc.metrics.inputs import checked
from mlkdc.metrics.ranking import average_precision, top1


@dataclass(frozen=True)
class Evaluation:
    """How well probabilities fit their targets.

    Args:
        summary: percent, by name: mAP; OP, OR, OF1, CP, CR, CF1 at threshold 0.5; the same with ``@tuned`` at
            per-class thresholds, where there are any; OF1@n and CF1@n from each image's true number of
            labels (the form of the L2D release); P@1, R@1.
        per_class_ap: percent, in class order; None for a class without a positive.
        classes_without_positive: how many classes mAP, CP, CR and CF1 skip.
    """

    summary: dict[str, float]
    per_class_ap: list[float | None]
    classes_without_positive: int


def evaluate(targets: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray | None = None) -> Evaluation:
    """Compare probabilities with targets.

    Args:
        targets: ``uint8[n, q]`` of zeros and ones.
        probabilities: ``float[n, q]`` in 0..1.
        thresholds: ``float[q]`` from :func:`mlkdc.metrics.tune_thresholds` on other images, or None.

    Raises:
        UsageError: no image has any label, so that nothing can be scored.
        ValueError, MlkdcError: as :func:`mlkdc.metrics.inputs.checked`; thresholds of another shape.
    """
    truth, scores = checked(targets, probabilities)
    if not truth.any():
        raise UsageError(f"none of the {len(truth)} images has a label, so nothing can be scored; check the labels")
    ap = average_precision(truth, scores)
    metrics = {"mAP": float(np.nanmean(ap)), **_decided(truth, scores >= 0.5)}
    if thresholds is not None:
        limits = np.asarray(thresholds, dtype=np.float64)
        if limits.shape != (truth.shape[1],):
            raise ValueError(f"expected {truth.shape[1]} thresholds, one per class, got shape {limits.shape}")
        metrics.update(_decided(truth, scores >= limits, "@tuned"))
    at_true_count = Counts.of(truth, decide_true_count(truth, scores))
    metrics["OF1@n"] = at_true_count.overall().f1
    metrics["CF1@n"] = at_true_count.per_class().f1
    metrics["P@1"], metrics["R@1"] = top1(truth, scores)
    return Evaluation(
        summary={name: 100 * value for name, value in metrics.items()},
        per_class_ap=[_percent(value) for value in ap],
        classes_without_positive=int(np.isnan(ap).sum()),
    )


def _decided(truth: np.ndarray, decided: np.ndarray, suffix: str = "") -> dict[str, float]:
    """The six metrics of one set of decisions by name, in 0..1."""
    counts = Counts.of(truth, decided)
    metrics = {}
    for letter, quality in (("O", counts.overall()), ("C", counts.per_class())):
        metrics[f"{letter}P{suffix}"] = quality.precision
        metrics[f"{letter}R{suffix}"] = quality.recall
        metrics[f"{letter}F1{suffix}"] = quality.f1
    return metrics


def _percent(ap: float) -> float | None:
    if np.isnan(ap):
        return None
    return 100 * float(ap)
