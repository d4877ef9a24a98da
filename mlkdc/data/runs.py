"""The data of a run: read as it was for its training, and checked against the labels of its model."""

from collections.abc import Sequence
from dataclasses import replace

from mlkdc.data import open_data
from mlkdc.errors import UsageError
from mlkdc.recipe import Recipe
from mlkdc.records.run import Run
from mlkdc.types import TaggedImages

SHOWN_LABELS = 4


def read_data(recipe: Recipe) -> TaggedImages:
    """The data a recipe names. How it is split, and the embedded data, do not depend on the run's seed."""
    spec = recipe.data
    return open_data(
        spec.path,
        layout=spec.layout,
        separator=spec.separator,
        images=spec.images,
        seed=0,
        digits_images=spec.digits_images,
    )


def run_data(run: Run, path: str | None = None) -> TaggedImages:
    """The data of a run without the images that were skipped, or other data whose labels must be the same.

    Raises:
        UsageError: the data is missing, or its labels are not the model's.
    """
    if path is None:
        data = read_data(run.recipe)
        if run.finished:
            data = _without(data, run.results.data.skipped)
    else:
        data = open_data(path, digits_images=run.recipe.data.digits_images, split=False)
    check_labels(data, run.classes, f"the model in {run.path}")
    return data


def _without(data: TaggedImages, skipped: Sequence[str]) -> TaggedImages:
    """The data without the images of these paths."""
    paths = set(skipped)
    samples = tuple(sample for sample in data.samples if str(sample.image) not in paths)
    return replace(data, samples=samples)


def check_labels(data: TaggedImages, classes: Sequence[str], what: str) -> None:
    """Raise UsageError unless ``data`` has exactly these labels in this order; ``what`` names the model."""
    if tuple(classes) == data.classes:
        return
    only_in_data = sorted(set(data.classes) - set(classes))
    only_in_model = sorted(set(classes) - set(data.classes))
    differences = []
    if only_in_data:
        differences.append(f"{len(only_in_data)} only in the data ({_shown(only_in_data)})")
    if only_in_model:
        differences.append(f"{len(only_in_model)} only in the model ({_shown(only_in_model)})")
    if not differences:
        raise UsageError(f"{what} and {data.root} have the same labels in another order; add a classes.txt to the data")
    raise UsageError(
        f"{what} has {len(classes)} labels, {data.root} has {len(data.classes)}: {'; '.join(differences)}. "
        "Use data with the same labels, or train on this data"
    )


def _shown(names: list[str]) -> str:
    shown = names[:SHOWN_LABELS]
    if len(names) > SHOWN_LABELS:
        shown.append("...")
    return ", ".join(shown)


def scored_split(data: TaggedImages, trained: Sequence[str]) -> str:
    """The split to score on: test, else val, of those not trained on; else the first one."""
    for name in ("test", "val"):
        if name in data.splits and name not in trained:
            return name
    return data.splits[0]


def tuning_split(data: TaggedImages, trained: Sequence[str]) -> str:
    """The split on which per-class thresholds are tuned: val unless it was trained on, else the scored one."""
    if "val" in data.splits and "val" not in trained:
        return "val"
    return scored_split(data, trained)
