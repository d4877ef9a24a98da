"""Some images of the comparison stay in the run folder, for devices on which there is no torch to ask."""

from collections.abc import Callable

import numpy as np

from mlkdc.exporting.reference import Reference
from mlkdc.figures import megabytes
from mlkdc.records.answers import KnownAnswers
from mlkdc.records.run import Run


def keep_images(run: Run, reference: Reference, say: Callable[[str], None]) -> None:
    """Write ``export.keep_images`` of the reference's images, evenly over all of them, into the run folder.

    Raises:
        MlkdcError: the disk is full or not writable.
    """
    count = min(run.recipe.export.keep_images, len(reference.pixels))
    if count == 0:
        return
    rows = np.linspace(0, len(reference.pixels) - 1, count).round().astype(int)
    known = KnownAnswers(reference.pixels[rows], reference.probabilities[rows], reference.targets[rows])
    path = known.save(run.path)
    size = megabytes(path.stat().st_size, 1)
    say(f"  kept {count} images and the torch model's answers for devices: {path}, {size} MB")
