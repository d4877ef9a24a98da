"""How images become batches: what processes and repeated images cannot share is refused before anything is written."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlkdc.errors import UsageError
from mlkdc.losses import make_objective
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.train import checks, distill
from mlkdc.train.checks import check_batches
from mlkdc.train.plan import make_plan

Tiny = Callable[..., Recipe]


def vanilla(tiny: Tiny, size: int, method: str = "vanilla", pixels: int = 32) -> Recipe:
    recipe = tiny(distill={"method": method}, teacher=None)
    recipe.train.batch_size, recipe.data.image_size = size, pixels
    return recipe


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("method", ["vanilla", "dlb"])
def test_a_batch_of_which_processes_would_get_some_images_twice_is_refused(
    processes: int, method: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "count", lambda: processes)
    halves = 1 + (method == "dlb")
    for size in range(2 * halves * processes, 60, halves * processes):
        recipe = vanilla(tiny, size, method)
        if processes == 1 or size // halves <= 30:
            make_plan(recipe, Progress())  # of 30 images
            continue
        largest = max(fit for fit in range(1, size) if fit % (halves * processes) == 0 and fit // halves <= 30)
        fits = rf"takes {size // halves} images for a step, and there are 30 to .*`--set train\.batch_size={largest}`"
        with pytest.raises(UsageError, match=fits):
            make_plan(recipe, Progress())


def test_fewer_images_than_processes_have_no_batch(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = vanilla(tiny, 62)
    monkeypatch.setattr(checks, "count", lambda: 31)
    with pytest.raises(UsageError, match="31 processes cannot share equally; train in one process"):
        make_plan(recipe, Progress())


@pytest.mark.parametrize(("method", "processes"), [("dlb", 1), ("vanilla", 2), ("dlb", 2), ("vanilla", 4)])
def test_one_small_image_alone_is_refused(
    method: str, processes: int, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "count", lambda: processes)
    objective = make_objective(vanilla(tiny, 8, method).distill)
    parts = processes * (1 + (method == "dlb"))
    check_batches(vanilla(tiny, 2 * parts, method), objective)
    check_batches(vanilla(tiny, parts, method, pixels=64), objective)
    with pytest.raises(UsageError, match=rf"train\.batch_size: expected at least {2 * parts} .* got {parts}: a single"):
        check_batches(vanilla(tiny, parts, method), objective)


def test_the_batch_of_a_teacher_counts_where_it_is_trained(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "count", lambda: 2)
    recipe = tiny()
    assert recipe.teacher
    recipe.teacher.train.batch_size = 7
    objective = make_objective(recipe.distill)
    with pytest.raises(UsageError, match=r"teacher\.train\.batch_size 7 cannot be shared by 2 equal parts"):
        check_batches(recipe, objective)
    recipe.teacher.source = "somewhere"
    check_batches(recipe, objective)


def test_halves_of_an_odd_batch_are_refused(tiny: Tiny) -> None:
    """Also where the source that repeats images does not look at the batch itself."""
    recipe = vanilla(tiny, 7, "dlb")
    with pytest.raises(UsageError, match=r"train\.batch_size 7 .* 2 equal parts"):
        check_batches(recipe, make_objective(recipe.distill))


@pytest.mark.slow
def test_the_smallest_batches_train(tiny: Tiny, tmp_path: Path) -> None:
    """Those that are refused would stop with an error of torch's, the others have a loss."""
    with pytest.raises(UsageError, match="batch statistics"):
        distill(vanilla(tiny, 2, "dlb"), out=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    sizes: list[dict[str, Any]] = [{"size": 4}, {"size": 2, "pixels": 64}]
    for number, change in enumerate(sizes):
        recipe = vanilla(tiny, method="dlb", **change)
        recipe.train.epochs = 1
        run = distill(recipe, out=tmp_path / str(number))
        assert math.isfinite(run.epochs[0].loss)
