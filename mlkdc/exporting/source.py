"""The answers of a run's torch model on its data, with which artifacts are compared."""

from mlkdc.data.runs import run_data
from mlkdc.exporting.reference import Reference, make_reference
from mlkdc.records.run import Run
from mlkdc.train import load_model


def reference_of(run: Run) -> Reference:
    """The answers of a run's torch model, with which its artifacts are compared; takes most of an export's time.

    Raises:
        UsageError: the run's data is missing, or an image of it cannot be read.
    """
    return make_reference(load_model(run), run_data(run), run.recipe.data.train_splits)
