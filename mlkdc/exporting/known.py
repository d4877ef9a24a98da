"""The torch model's answers, once it is known to be the model that was scored."""

from collections.abc import Callable

from mlkdc.data.runs import run_data
from mlkdc.exporting.identity import check_scores, check_weights
from mlkdc.exporting.kept import keep_images
from mlkdc.exporting.reference import Reference, make_reference
from mlkdc.models import MultiLabelModel
from mlkdc.records.run import Run
from mlkdc.train import load_model
from mlkdc.types import TaggedImages


def reference_of(run: Run, say: Callable[[str], None], moved_to: str | None = None) -> Reference:
    """Of a finished run: takes most of an export's time, and is the same for all of its artifacts.

    ``moved_to``: where the run's data is now, if it has moved.

    Raises:
        UsageError: as :func:`checked_reference`.
    """
    check_weights(run)
    return checked_reference(run, load_model(run), run_data(run, say, moved_to), say)


def checked_reference(run: Run, model: MultiLabelModel, data: TaggedImages, say: Callable[[str], None]) -> Reference:
    """The answers of a run's model, some of which are kept in the run folder.

    Raises:
        UsageError: an image of the run's data is missing or cannot be read, or the model is not the one that was
            scored.
    """
    reference = make_reference(model, data, run.recipe.data.train_splits)
    check_scores(run, model, data, reference)
    keep_images(run, reference, say)
    return reference
