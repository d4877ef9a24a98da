"""What an export takes from a run: its trained model, its data, and their answers."""

from mlkdc.data.runs import run_data
from mlkdc.exporting.reference import Reference, make_reference
from mlkdc.models import MultiLabelModel
from mlkdc.records.run import Run


def load_model(run: Run) -> MultiLabelModel:
    """The trained model in eval mode, on the CPU."""
    # SWAP: this function becomes mlkdc.train.load_model.
    from mlkdc.train.runs import Run as LoadableRun

    return LoadableRun(run.path).model()


def reference_of(run: Run) -> Reference:
    """The answers of a run's torch model, with which its artifacts are compared; takes most of an export's time.

    Raises:
        UsageError: the run's data is missing, or an image of it cannot be read.
    """
    return make_reference(load_model(run), run_data(run), run.recipe.data.train_splits)
