"""Checking a recipe completely, as far as the packages that are installed know its names."""

from collections.abc import Callable, Sequence
from typing import Any

from mlkdc.commands.halves import INSTALL, missing_training
from mlkdc.data import EMBEDDED
from mlkdc.data.layouts import LAYOUTS
from mlkdc.errors import RecipeError, UsageError
from mlkdc.methods import load_method
from mlkdc.model_names import short_names
from mlkdc.recipe import Recipe, load_recipe
from mlkdc.runtime.targets import load_target, split_name


def read_recipe(name: str, settings: Sequence[str], overrides: dict[str, Any] | None = None) -> Recipe:
    """As :func:`~mlkdc.recipe.load_recipe`; where that finds faults, the names in what is left are checked, too.

    Raises:
        UsageError: as there.
        RecipeError: all of them at once.
    """
    try:
        return load_recipe(name, list(settings), overrides)
    except RecipeError as error:
        names = [] if error.rest is None else _unknown_names(error.rest)
        raise RecipeError([*error.faults, *names], error.source) from None


def check_recipe(recipe: Recipe) -> str | None:
    """Check all that a recipe says, without its data and weights.

    Returns:
        What could not be checked because torch is not installed, in one sentence; None if everything was.

    Raises:
        RecipeError: every name that is unknown, or what a training would refuse.
    """
    faults = _unknown_targets(recipe) + _unknown_layout(recipe)
    unchecked = None
    if missing_training():
        faults += _unknown_method(recipe)
        unchecked = _unchecked(recipe)
    else:
        from mlkdc.train.checks import check_objective

        faults += _refused_by(check_objective, recipe)
    if faults:
        raise RecipeError(faults, recipe.name)
    return unchecked


def check_exports(recipe: Recipe) -> None:
    """What a run's exports would fail on after its training.

    Raises:
        UsageError: an unknown target, a package is missing, or this processor cannot compare the artifact.
    """
    for name in recipe.targets:
        target_name, precision = split_name(name)
        target = load_target(target_name)
        target.check_range(precision, recipe.export.reduce_range)
        target.check_installed()


def _unknown_names(recipe: Recipe) -> list[str]:
    faults = _unknown_targets(recipe) + _unknown_layout(recipe)
    if missing_training():
        return faults + _unknown_method(recipe)
    from mlkdc.train.checks import check_names

    return faults + _refused_by(check_names, recipe)


def _unknown_targets(recipe: Recipe) -> list[str]:
    faults = []
    for target in recipe.targets:
        try:
            split_name(target)
        except UsageError as error:
            faults.append(f"targets: {error}")
    return faults


def _unknown_layout(recipe: Recipe) -> list[str]:
    name = recipe.data.layout
    # The embedded data set is no layout, but can be named as one.
    if name is None or recipe.data.path == name == EMBEDDED:
        return []
    try:
        LAYOUTS.get(name)
    except UsageError as error:
        return [f"data.layout: {error}"]
    return []


def _unknown_method(recipe: Recipe) -> list[str]:
    try:
        load_method(recipe.distill.method)
    except UsageError as error:
        return [f"distill.method: {error}"]
    return []


def _refused_by(check: Callable[[Recipe], object], recipe: Recipe) -> list[str]:
    try:
        check(recipe)
    except RecipeError as error:
        return error.faults
    except UsageError as error:
        return [str(error)]
    return []


def _unchecked(recipe: Recipe) -> str:
    names = {recipe.student.model}
    if recipe.teacher:
        names.add(recipe.teacher.model)
    parts = sorted(names - set(short_names()))
    parts.append("loss terms and their options")
    return f"not checked, because torch is not installed: {', '.join(parts)} ({INSTALL})"
