"""A finished artifact, read as someone reads it who has only the folder: its manifest, its runtime, its names."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlkdc.exporting.batches import check_batches
from mlkdc.exporting.parity import answers_of, compare
from mlkdc.exporting.reference import Reference
from mlkdc.images import load_square
from mlkdc.records.manifest import Manifest
from mlkdc.records.parity import Parity, Tolerance

# Files that are prepared as the manifest says. One shows a wrong way to do it; some images happen to be square.
PREPARED = 8


@dataclass(frozen=True)
class Judgement:
    """A comparison, and what was compared.

    Args:
        parity: how an artifact compares with the torch model.
        answers: its probabilities ``float32[n, q]``, by the reference's labels; None where it was not asked.
    """

    parity: Parity
    answers: np.ndarray | None = None


def judge(folder: Path, reference: Reference, tolerance: Tolerance, scratch: Path) -> Judgement:
    """Compare an artifact with the torch model.

    Answers are matched with the data's labels by name, and thresholds too: classes in another order than the outputs
    are other answers. Some image files are prepared as the manifest says, which must give the pixels that were
    compared. An artifact that takes any number of images is asked in batches of several sizes.

    Args:
        folder: of the artifact, complete.
        reference: the torch model's answers.
        tolerance: of the target and precision.
        scratch: a folder for what is made to compare with.

    Raises:
        UsageError: the manifest cannot be read.
        MlkdcError: the artifact does not run.
    """
    manifest = Manifest.load(folder)
    fault = _other_classes(manifest, reference) or _other_pixels(manifest, reference)
    if fault is not None:
        return Judgement(Parity(passed=False, reason=fault))
    columns = [manifest.classes.index(name) for name in reference.classes]
    answers = answers_of(folder, reference.pixels)[:, columns]
    thresholds = np.array(manifest.thresholds)[columns]
    parity = compare(reference, answers, thresholds, tolerance, manifest.runtime)
    if manifest.dynamic_batch:
        parity = check_batches(parity, folder, manifest, reference.pixels, scratch)
    return Judgement(parity, answers)


def _other_classes(manifest: Manifest, reference: Reference) -> str | None:
    if set(manifest.classes) == set(reference.classes):
        return None
    strange = sorted(set(manifest.classes) ^ set(reference.classes))
    return f"the manifest's classes are not the data's: {', '.join(strange[:4])} are in one of them only"


def _other_pixels(manifest: Manifest, reference: Reference) -> str | None:
    """What is wrong with how the manifest prepares images, in words."""
    size, fit = manifest.preprocess.size, manifest.preprocess.fit
    for file, pixels in list(zip(reference.files, reference.pixels, strict=False))[:PREPARED]:
        prepared = load_square(file, size, fit).transpose(2, 0, 1)
        if not np.array_equal(prepared, pixels):
            return f"{file.name}, prepared as the manifest says ({fit} to {size} px), is not what the model was given"
    return None
