"""Some images of the comparison stay in the run folder, of a run that keeps none since its training."""

from collections.abc import Callable

from mlkdc.errors import UsageError
from mlkdc.exporting.reference import Reference
from mlkdc.figures import megabytes
from mlkdc.records.answers import KnownAnswers
from mlkdc.records.run import Run
from mlkdc.train.kept import spread


def keep_answers(run: Run, reference: Reference, say: Callable[[str], None]) -> None:
    """Write ``export.keep_images`` of the reference's images, evenly over all of them, unless some are kept already.

    Those of another model, and a damaged file, are replaced.

    Raises:
        MlkdcError: the disk is full or not writable.
    """
    most = run.recipe.export.keep_images
    if most == 0 or _are_kept(run, reference):
        return
    rows = spread(len(reference.pixels), most)
    known = KnownAnswers(reference.pixels[rows], reference.probabilities[rows], reference.targets[rows])
    path = known.save(run.path)
    size = megabytes(path.stat().st_size, 1)
    say(f"  kept {len(rows)} images and the torch model's answers for devices: {path}, {size} MB")


def _are_kept(run: Run, reference: Reference) -> bool:
    try:
        known = KnownAnswers.load(run.path)
    except UsageError:
        return False
    return known.is_of(reference.pixels.shape[-1], len(reference.classes))
