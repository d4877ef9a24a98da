"""Is the artifact the model? Both answer the same real images, the artifact in a separate process."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlkdc.devices import LocalDevice, Subject
from mlkdc.errors import MlkdcError
from mlkdc.exporting.reference import LEAST_POSITIVES, Reference
from mlkdc.figures import number
from mlkdc.metrics import average_precision
from mlkdc.metrics.ranking import drawn_average_precision
from mlkdc.records.manifest import Manifest
from mlkdc.records.parity import Comparison, Parity, ParityFigures, Tolerance
from mlkdc.runtime.session import no_probabilities

# Two float32 programs add up the same products in another order and so round differently. Where both answers are this
# close, a decision on the other side of a threshold, or another order of images with equal answers, says nothing about
# the export. That is for targets that tolerate no larger difference, which are those in fp32: int8 and half precision
# change the answers on purpose, and are judged by them as they are.
ROUNDING = 1e-4
# Of images, to see how much the worst class's drop depends on them.
DRAWS = 200


def compare(
    reference: Reference,
    answers: np.ndarray,
    thresholds: np.ndarray,
    tolerance: Tolerance,
    runtime: str,
    *,
    interval: bool = True,
) -> Parity:
    """Compare an artifact's answers with the torch model's.

    Where no difference above ``ROUNDING`` is tolerated, those that are can still flip a label at its threshold, and
    reorder images with nearly equal answers, which moves its AP. Both are recorded, and do not fail an
    export. Everywhere else the drop of mAP is that of the answers as they are, and every flip counts. The worst class
    is the one whose AP drops most, of those with at least ``LEAST_POSITIVES`` positive images; where none has so many,
    as among the few images that a run folder keeps, mAP alone is judged.

    Args:
        reference: the torch model's answers.
        answers: probabilities ``float32[n, q]`` of the artifact.
        thresholds: ``float[q]``; a label is given when its probability is at least this.
        tolerance: of the target and precision.
        runtime: that gave the answers.
        interval: give the worst class's drop one, which takes longer than all else.

    Returns:
        Whether it passed and, where it did not, the reason.
    """
    comparison = Comparison(
        runtime=runtime,
        images=len(reference.probabilities),
        split=reference.split,
        tolerance=tolerance,
        map_torch_percent=map_percent(reference.targets, reference.probabilities),
        figures=_figures(reference, answers, thresholds, tolerance, interval),
        kept=reference.kept,
    )
    reason = no_probabilities(answers) or _breach(comparison, decisions=answers.size)
    return Parity(passed=reason is None, reason=reason, comparison=comparison)


def _figures(
    reference: Reference, answers: np.ndarray, thresholds: np.ndarray, tolerance: Tolerance, interval: bool
) -> ParityFigures | None:
    """None where the artifact's answers are no probabilities."""
    if no_probabilities(answers) is not None:
        return None
    torch, artifact = reference.probabilities.astype(np.float64), answers.astype(np.float64)
    difference = np.abs(torch - artifact)
    forgiven = artifact
    if tolerance.probability <= ROUNDING:
        forgiven = np.where(difference <= tolerance.probability, torch, artifact)
    decided = torch >= thresholds
    flips = int((decided != (forgiven >= thresholds)).sum())
    worst = _worst_class(reference, forgiven, interval)
    return ParityFigures(
        map_artifact_percent=map_percent(reference.targets, artifact),
        map_drop_points=map_percent(reference.targets, torch) - map_percent(reference.targets, forgiven),
        worst_class=worst.name,
        worst_class_drop_points=worst.drop_points,
        worst_class_interval_points=worst.interval_points,
        classes_judged=worst.judged,
        max_probability_difference=float(difference.max()),
        label_flips=flips,
        label_flips_by_rounding=int((decided != (artifact >= thresholds)).sum()) - flips,
    )


@dataclass(frozen=True)
class _WorstClass:
    """The class whose AP drops most, and of how many; no name where none has enough images to be judged by."""

    name: str | None
    drop_points: float
    judged: int
    interval_points: tuple[float, float] | None = None


def _worst_class(reference: Reference, answers: np.ndarray, interval: bool) -> _WorstClass:
    positives = reference.targets.sum(0)
    judged = np.flatnonzero(positives >= LEAST_POSITIVES)
    if not judged.size:
        return _WorstClass(None, 0.0, 0)
    targets, torch = reference.targets[:, judged], reference.probabilities[:, judged]
    drops = 100 * (average_precision(targets, torch) - average_precision(targets, answers[:, judged]))
    worst = int(np.argmax(drops))
    column = judged[worst]
    drawn = None
    if interval:
        drawn = drop_interval(reference.targets[:, column], reference.probabilities[:, column], answers[:, column])
    return _WorstClass(reference.classes[column], float(drops[worst]), len(judged), drawn)


def drop_interval(targets: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Where a class's drop of AP lies in 9 of 10 draws of as many images, with replacement: percentage points.

    Args:
        targets: ``uint8[n]`` of the class, at least one of them 1.
        before, after: ``float[n]`` probabilities of the torch model and of the artifact, for the same images.
    """
    return map_drop_interval(targets[:, None], before[:, None], after[:, None])


def map_drop_interval(targets: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Where the drop of mAP lies in 9 of 10 draws of as many images, with replacement: percentage points.

    Args:
        targets: ``uint8[n, q]``; without any label the drop is 0.
        before, after: ``float[n, q]`` probabilities of the torch model and of the artifact, for the same images.
    """
    if not targets.any():
        return 0.0, 0.0
    random = np.random.default_rng(0)
    counts: list[np.ndarray] = []
    while len(counts) < DRAWS:
        rows = random.integers(0, len(targets), len(targets))
        if targets[rows].any():
            counts.append(np.bincount(rows, minlength=len(targets)))
    drawn = np.array(counts)
    means = [np.nanmean(drawn_average_precision(targets, scores, drawn), axis=1) for scores in (before, after)]
    drops = 100 * (means[0] - means[1])
    low, high = np.percentile(drops, [5, 95])
    return float(low), float(high)


def map_percent(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean average precision; 0 where no image has a label."""
    if not targets.any():
        return 0.0
    return 100 * float(np.nanmean(average_precision(targets, probabilities)))


def _breach(comparison: Comparison, decisions: int) -> str | None:
    """What is out of tolerance, in words; None where nothing is."""
    figures, allowed = comparison.figures, comparison.tolerance
    if figures is None:
        return None
    reasons = []
    if figures.max_probability_difference > allowed.probability:
        difference = _above(figures.max_probability_difference, allowed.probability)
        reasons.append(f"largest probability difference {difference}, allowed {allowed.probability:g}")
    if 100 * figures.label_flips / decisions > allowed.label_flips_percent:
        flips = f"{figures.label_flips} of {decisions} labels flipped"
        reasons.append(f"{flips}, allowed {allowed.label_flips_percent:g} %")
    if figures.map_drop_points > allowed.map_drop_points:
        before, after = number(comparison.map_torch_percent), number(figures.map_artifact_percent)
        reasons.append(f"mAP drops from {before} to {after}, allowed drop {allowed.map_drop_points:g}")
    if figures.worst_class_drop_points > allowed.class_drop_points:
        drop = number(figures.worst_class_drop_points)
        reasons.append(f"AP of {figures.worst_class} drops by {drop}, allowed {allowed.class_drop_points:g}")
    if not reasons:
        return None
    return "; ".join(reasons)


def _above(value: float, limit: float) -> str:
    """A value above a limit with two significant digits, or as many as tell the two apart."""
    digits = 2
    while float(f"{value:.{digits}g}") <= limit:
        digits += 1
    return f"{value:.{digits}g}"


def answers_of(artifact: Path, pixels: np.ndarray, *, batch: int | None = None) -> np.ndarray:
    """An artifact's probabilities ``float32[n, q]``, from a separate process.

    Args:
        artifact: a folder with manifest and model files.
        pixels: ``uint8[n, 3, s, s]``.
        batch: at most so many images at once, where the artifact takes more than one; None = as a session does.

    Raises:
        MlkdcError: the artifact does not run; the message is the runtime's.
    """
    # The way that every device is reached, so that no export goes by without trying it.
    with LocalDevice() as device:
        device.open()
        try:
            return device.answers(Subject(artifact, Manifest.load(artifact)), pixels, batch=batch)
        except MlkdcError as error:
            raise MlkdcError(f"the exported model does not run: {error}") from None
