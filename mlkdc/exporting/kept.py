"""Some images of the comparison stay in the run folder, of a run that keeps none since its training."""

from collections.abc import Callable

from mlkdc.errors import UsageError
from mlkdc.exporting.identity import checked_answers
from mlkdc.exporting.reference import Reference
from mlkdc.figures import megabytes
from mlkdc.models import MultiLabelModel
from mlkdc.records.answers import KnownAnswers
from mlkdc.records.run import Run
from mlkdc.spread import spread


def keep_answers(run: Run, model: MultiLabelModel, reference: Reference, say: Callable[[str], None]) -> None:
    """Write ``export.keep_images`` of the reference's images, evenly over all of them, unless some are kept already.

    Those that the model does not give, and a damaged file, are replaced: devices would be judged by them.

    Raises:
        MlkdcError: the disk is full or not writable.
    """
    most = run.recipe.export.keep_images
    if most == 0 or _are_kept(run, model):
        return
    rows = spread(len(reference.pixels), most)
    known = KnownAnswers(reference.pixels[rows], reference.probabilities[rows], reference.targets[rows])
    path = known.save(run.path)
    size = megabytes(path.stat().st_size, 1)
    say(f"  kept {len(rows)} images and the torch model's answers for devices: {path}, {size} MB")


def _are_kept(run: Run, model: MultiLabelModel) -> bool:
    try:
        checked_answers(run, model, KnownAnswers.load(run.path))
    except UsageError:
        return False
    return True
