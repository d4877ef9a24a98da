"""A precision that this machine does not train in is refused before anything is written."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mlkdc.commands.check import check_recipe
from mlkdc.errors import UsageError
from mlkdc.exporting.int8 import finetune
from mlkdc.recipe import Recipe
from mlkdc.train import checks, distill
from mlkdc.train.checks import check_objective, check_precision
from mlkdc.train.loading import make_accelerator

Tiny = Callable[..., Recipe]

cpu_only = pytest.mark.skipif(torch.accelerator.is_available(), reason="of a machine without an accelerator")


def halved(recipe: Recipe, section: str) -> Recipe:
    """With fp16 in ``train`` or ``teacher.train``."""
    assert recipe.teacher
    trained = {"train": recipe.train, "teacher.train": recipe.teacher.train}
    trained[section].precision = "fp16"
    return recipe


def checked(recipe: Recipe) -> None:
    check_precision(recipe, check_objective(recipe))


@cpu_only
@pytest.mark.parametrize("section", ["train", "teacher.train"])
def test_fp16_on_a_cpu_is_refused_before_anything_is_written(section: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = halved(tiny(), section)
    with pytest.raises(UsageError, match=rf"^{section}\.precision=fp16 needs an accelerator.* use bf16 or fp32"):
        distill(recipe, out=tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    check_recipe(recipe)  # it may be meant for another machine


@cpu_only
def test_a_cpu_takes_the_other_precisions_and_does_not_look_at_a_teacher_that_it_does_not_train(tiny: Tiny) -> None:
    recipe = tiny()
    recipe.train.precision = "bf16"
    checked(recipe)
    # What a precision is taken for is the library's: on a CPU it knows bf16 alone.
    assert [make_accelerator(recipe).native_amp, make_accelerator(tiny()).native_amp] == [True, False]
    checked(halved(tiny(distill={"method": "vanilla"}), "teacher.train"))
    trained = halved(tiny(), "teacher.train")
    assert trained.teacher
    trained.teacher.source = "runs/teacher"
    checked(trained)


@pytest.mark.parametrize("section", ["train", "teacher.train"])
def test_an_accelerator_takes_fp16(section: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "on_cpu", lambda: False)
    checked(halved(tiny(), section))


@pytest.mark.parametrize(("cpu", "precision"), [(True, "fp32"), (False, "fp16")])
def test_a_run_in_fp16_is_fine_tuned_for_int8_in_what_the_machine_has(
    cpu: bool, precision: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "on_cpu", lambda: cpu)
    recipe = halved(tiny(), "train")
    assert finetune._recipe(recipe, 1).train.precision == precision
    recipe.train.precision = "bf16"
    assert finetune._recipe(recipe, 1).train.precision == "bf16"
