"""Everything that can be found wrong before training begins."""

from dataclasses import replace
from pathlib import Path

from mlkdc.data import EMBEDDED
from mlkdc.data.check import check_readable, unseen_labels
from mlkdc.errors import RecipeError, UsageError
from mlkdc.losses import make_objective
from mlkdc.models import check_name
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.train.runs import read_data
from mlkdc.train.sources import check_sources
from mlkdc.types import TaggedImages


def check_names(recipe: Recipe) -> None:
    """Raise one RecipeError for all names in the recipe that no layer knows."""
    checks = [
        ("student.model", lambda: check_name(recipe.student.model)),
        ("distill", lambda: make_objective(recipe.distill)),
    ]
    if recipe.teacher:
        name = recipe.teacher.model
        checks.append(("teacher.model", lambda: check_name(name)))
    faults = []
    for key, check in checks:
        try:
            check()
        except UsageError as error:
            faults.append(f"{key}: {error}")
    if faults:
        raise RecipeError(faults, recipe.name)


def check_heads(recipe: Recipe) -> None:
    """Raise UsageError for a method without its teacher, or whose embeddings or samples a head does not give."""
    objective, teacher = make_objective(recipe.distill), recipe.teacher
    if objective.needs_teacher and teacher is None:
        raise UsageError(f"the method {recipe.distill.method!r} needs a teacher: `--teacher MODEL`, a run or a file")
    check_sources(objective.sources, recipe)
    kinds = {"student": recipe.student.head.kind, "teacher": teacher.head.kind if teacher else None}
    for name, kind in kinds.items():
        if f"{name}.embeddings" in objective.needs and kind == "linear":
            raise UsageError(
                f"{name}.head.kind is linear, which has no label-wise embeddings; {recipe.distill.method} needs them: "
                f"`--set {name}.head.kind=compact`"
            )


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe with every path that exists made absolute, so that its run can be used from any folder."""
    recipe = recipe.model_copy(deep=True)
    if recipe.data.path != EMBEDDED:
        recipe.data.path = _absolute(recipe.data.path)
    for model in (recipe.student, recipe.teacher):
        if model and model.weights not in ("pretrained", "none"):
            model.weights = _absolute(model.weights)
    if recipe.teacher and recipe.teacher.source:
        recipe.teacher.source = _absolute(recipe.teacher.source)
    return recipe


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve()) if Path(path).expanduser().exists() else path


def checked_data(recipe: Recipe, progress: Progress) -> tuple[TaggedImages, list[str]]:
    """The recipe's data with every image known to open, and the names of those left out.

    Raises:
        UsageError: bad images and no ``data.skip_bad``; or a label that training never sees.
    """
    data = read_data(recipe)
    for problem in data.problems:
        progress.say(f"data: {problem}")
    missing = [name for name in recipe.data.train_splits if name not in data.splits]
    if missing:
        raise UsageError(f"{data.root} has no {missing[0]} split; it has: {', '.join(data.splits)}")
    bad = check_readable(data.samples)
    if bad and not recipe.data.skip_bad:
        listed = "\n  ".join(str(problem) for problem in bad[:20])
        more = f"\n  ... and {len(bad) - 20} more" if len(bad) > 20 else ""
        raise UsageError(
            f"{len(bad)} of {len(data.samples)} images cannot be used; mend them, or leave them out with "
            f"`--skip-bad`:\n  {listed}{more}"
        )
    for problem in bad:
        progress.say(f"left out: {problem}")
    skipped = [problem.where for problem in bad]
    left_out = set(skipped)
    kept = tuple(sample for sample in data.samples if str(sample.image) not in left_out)
    data = replace(data, samples=kept)
    _check_seen(data, recipe)
    return data, skipped


def _check_seen(data: TaggedImages, recipe: Recipe) -> None:
    names = list(dict.fromkeys(problem.where for problem in unseen_labels(data, recipe.data.train_splits)))
    if names and not recipe.data.allow_unseen:
        raise UsageError(
            f"{len(names)} labels occur in other splits but never in {'+'.join(recipe.data.train_splits)}, so they "
            f"cannot be learned: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}. Move images of them to "
            "train, take the labels out, or go on with `--set data.allow_unseen=true`"
        )
