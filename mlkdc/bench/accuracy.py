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
from mlkdc.records.manifest import Manifest
from mlkdc.records.parity import Tolerance
from mlkdc.runtime.session import no_probabilities
from mlkdc.runtime.targets import load_target

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
        photos: to time from file to probabilities.
    """

    known: KnownAnswers | None = None
    scored: ScoredImages | None = None
    missing: str = ""
    photos: Sequence[Path] = ()


class Examination:
    """What a device has answered about one artifact, which is kept where it is lost in the middle.

    Args:
        device: that is asked.
        subject: the artifact.
        questions: about it.
    """

    def __init__(self, device: Device, subject: Subject, questions: Questions) -> None:
        self._device, self._subject, self._questions = device, subject, questions
        self._known: np.ndarray | None = None
        self._scored: list[np.ndarray] = []

    def ask(self) -> None:
        """Ask the device; nothing where there is nothing to ask.

        Raises:
            MlkdcError, DeviceLost: as :meth:`mlkdc.devices.Device.answers`; or the answers are no probabilities.
        """
        known, scored = self._questions.known, self._questions.scored
        if known is not None:
            self._known = _answered(self._device, self._subject, known.pixels)
        if scored is not None:
            manifest = self._subject.manifest
            for start in range(0, len(scored.paths), CHUNK):
                pixels = _loaded(scored.paths[start : start + CHUNK], manifest.image_size, manifest.preprocess.fit)
                self._scored.append(_answered(self._device, self._subject, pixels))

    def accuracy(self) -> Accuracy | None:
        """What the answers come to; None without any."""
        if self._known is None and not self._scored:
            return None
        found = Accuracy(images=0, max_probability_difference=0.0, label_flips=0)
        if self._known is not None and self._questions.known is not None:
            found = _compared(self._known, self._questions.known, self._subject)
        scored = self._questions.scored
        if self._scored and scored is not None:
            answers = np.concatenate(self._scored)
            precisions = average_precision(scored.targets[: len(answers)], answers)
            occurring = precisions[~np.isnan(precisions)]
            found = found.model_copy(
                update={
                    "map_images": len(answers),
                    # Over the labels that occur.
                    "map_percent": 100 * float(occurring.mean()) if len(occurring) else None,
                    "split": scored.split,
                }
            )
        return found

    def missing(self) -> str:
        """Why less is known than was asked; empty where it is all, or the device says why itself."""
        scored, count = self._questions.scored, sum(map(len, self._scored))
        if scored is not None and 0 < count < len(scored.paths):
            return f"its answers ended after {count} of {len(scored.paths)} images of the {scored.split} split"
        return self._questions.missing


def _compared(answers: np.ndarray, known: KnownAnswers, subject: Subject) -> Accuracy:
    thresholds = np.array(subject.manifest.thresholds)
    difference = float(np.abs(answers.astype(np.float64) - known.probabilities).max())
    return Accuracy(
        images=len(answers),
        max_probability_difference=difference,
        within_tolerance=difference <= _tolerance(subject.manifest).probability,
        label_flips=int(((answers >= thresholds) != (known.probabilities >= thresholds)).sum()),
    )


def _tolerance(manifest: Manifest) -> Tolerance:
    """That of the export; the target's for an artifact that could not be compared there, or was not to be."""
    if manifest.parity.comparison is not None:
        return manifest.parity.comparison.tolerance
    return load_target(manifest.target).tolerance(manifest.precision)


def _answered(device: Device, subject: Subject, pixels: np.ndarray) -> np.ndarray:
    answers = device.answers(subject, pixels)
    if fault := no_probabilities(answers):
        raise MlkdcError(fault)
    return answers


def _loaded(paths: Sequence[Path], size: int, fit: Fit) -> np.ndarray:
    squares = [load_square(path, size, fit) for path in paths]
    pixels: np.ndarray = np.stack(squares).transpose(0, 3, 1, 2)
    return pixels
