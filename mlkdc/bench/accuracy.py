"""Is the model on the device the model that was trained? Its answers next to the torch model's, and its mAP there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlkdc.devices import Device, Subject
from mlkdc.errors import MlkdcError
from mlkdc.fit import Fit
from mlkdc.images import load_square
from mlkdc.metrics import average_precision
from mlkdc.records.answers import KnownAnswers
from mlkdc.records.bench import Accuracy
from mlkdc.runtime.session import no_probabilities

#: Images that go to a device at once.
CHUNK = 64


@dataclass(frozen=True)
class ScoredImages:
    """Images whose labels are known: ``targets`` uint8[n, q] of the files ``paths`` of a split."""

    split: str
    paths: Sequence[Path]
    targets: np.ndarray


@dataclass(frozen=True)
class Questions:
    """What a device is asked about one artifact.

    Args:
        known: None where the torch model's answers were not kept.
        scored: None where no mAP is wanted.
        missing: why ``known`` is None.
    """

    known: KnownAnswers | None = None
    scored: ScoredImages | None = None
    missing: str = ""


def accuracy_on(device: Device, subject: Subject, questions: Questions) -> Accuracy | None:
    """Ask the device; None where there is nothing to ask.

    Raises:
        MlkdcError, DeviceLost: as :meth:`mlkdc.devices.Device.answers`; or the answers are no probabilities.
    """
    known, scored = questions.known, questions.scored
    if known is None and scored is None:
        return None
    images, difference, flips, within = 0, 0.0, 0, None
    if known is not None:
        answers = _answered(device, subject, known.pixels)
        thresholds = np.array(subject.manifest.thresholds)
        images = len(answers)
        difference = float(np.abs(answers.astype(np.float64) - known.probabilities).max())
        flips = int(((answers >= thresholds) != (known.probabilities >= thresholds)).sum())
        comparison = subject.manifest.parity.comparison
        if comparison is not None:
            within = difference <= comparison.tolerance.probability
    map_percent = None
    if scored is not None:
        map_percent = 100 * _mean_average_precision(device, subject, scored)
    return Accuracy(
        images=images,
        max_probability_difference=difference,
        within_tolerance=within,
        label_flips=flips,
        map_images=len(scored.paths) if scored else 0,
        map_percent=map_percent,
        split=scored.split if scored else None,
    )


def _answered(device: Device, subject: Subject, pixels: np.ndarray) -> np.ndarray:
    answers = device.answers(subject, pixels)
    expected = (len(pixels), len(subject.manifest.classes))
    if answers.shape != expected:
        raise MlkdcError(f"it answered with shape {answers.shape}, not {expected}")
    if fault := no_probabilities(answers):
        raise MlkdcError(fault)
    return answers


def _mean_average_precision(device: Device, subject: Subject, scored: ScoredImages) -> float:
    """Over the labels that occur."""
    size, fit = subject.manifest.image_size, subject.manifest.preprocess.fit
    answers = []
    for start in range(0, len(scored.paths), CHUNK):
        pixels = _loaded(scored.paths[start : start + CHUNK], size, fit)
        answers.append(_answered(device, subject, pixels))
    return float(np.nanmean(average_precision(scored.targets, np.concatenate(answers))))


def _loaded(paths: Sequence[Path], size: int, fit: Fit) -> np.ndarray:
    squares = [load_square(path, size, fit) for path in paths]
    pixels: np.ndarray = np.stack(squares).transpose(0, 3, 1, 2)
    return pixels
