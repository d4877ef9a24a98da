"""The data of a run: read as it was for its training, and checked against the labels its model knows."""

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
    return open_data(spec.path, layout=spec.layout, seed=0, digits_images=spec.digits_images)


def run_data(run: Run, path: str | None = None) -> TaggedImages:
    """A run's own data without the images that were skipped, or other data whose labels must be the same.

    Raises:
        UsageError: the data is missing, or its labels are not the model's.
    """
    if path is None:
        data = read_data(run.recipe)
        skipped = set(run.results.data.skipped) if run.finished else set()
        data = replace(data, samples=tuple(sample for sample in data.samples if str(sample.image) not in skipped))
    else:
        data = open_data(path, digits_images=run.recipe.data.digits_images, split=False)
    check_labels(data, run.classes, f"the model in {run.path}")
    return data


def check_labels(data: TaggedImages, classes: Sequence[str], what: str) -> None:
    """Raise UsageError unless ``data`` has exactly these labels in this order; ``what`` names the model."""
    expected = list(classes)
    found = list(data.classes)
    if found == expected:
        return
    differences = []
    for names, where in (
        (sorted(set(found) - set(expected)), "only in the data"),
        (sorted(set(expected) - set(found)), "only in the model"),
    ):
        if names:
            more = ", ..." if len(names) > SHOWN_LABELS else ""
            differences.append(f"{len(names)} {where} ({', '.join(names[:SHOWN_LABELS])}{more})")
    if not differences:
        raise UsageError(f"{what} and {data.root} have the same labels in another order; add a classes.txt to the data")
    raise UsageError(
        f"{what} knows {len(expected)} labels, {data.root} has {len(found)}: {'; '.join(differences)}. "
        "Use data with the same labels, or train on this data"
    )


def scored_split(data: TaggedImages, trained: Sequence[str]) -> str:
    """The split that figures are given for: test, else val, of those not trained on; else the first there is."""
    for name in ("test", "val"):
        if name in data.splits and name not in trained:
            return name
    return data.splits[0]


def tuning_split(data: TaggedImages, trained: Sequence[str]) -> str:
    """The split on which per-class thresholds are tuned: val unless it was trained on, else the scored one."""
    if "val" in data.splits and "val" not in trained:
        return "val"
    return scored_split(data, trained)
