"""The student's earlier answers: what a step compares with is what was answered then, to which view."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from test_sources import ready

from mlkdc.losses import Batch, Outputs
from mlkdc.models import MultiLabelModel
from mlkdc.recipe import Recipe
from mlkdc.train.input.views import Views
from mlkdc.train.learner import batch_statistics_only
from mlkdc.train.loop import Trainer
from mlkdc.train.sources import Step, TeacherSource
from mlkdc.train.sources.history import LastEpoch

pytestmark = pytest.mark.slow

Tiny = Callable[..., Recipe]


@dataclass
class Taken:
    """A step of a training, and the student's weights before it."""

    before: MultiLabelModel
    step: Step
    batch: Batch


def three_steps(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[Taken]:
    """The first three of the first epoch."""
    taken = []
    plain = Trainer._batch

    def note(self: Trainer, step: Step) -> Batch:
        # A pass in training moves the running statistics.
        before = copy.deepcopy(self.model)
        batch = plain(self, step)
        taken.append(Taken(before, step, batch))
        return batch

    monkeypatch.setattr(Trainer, "_batch", note)
    trainer._start(0)
    for number, loaded in zip(range(3), trainer.loader, strict=False):
        trainer._step(0, number, *loaded)
    return taken


def test_a_repeated_image_has_the_logits_of_its_first_view_and_is_seen_in_a_second_one(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the authors of DLB draw it; the teacher, with views of another size, looks at the same one."""
    recipe = tiny(distill={"method": "dlb", "terms": {"mld": 1}})
    recipe.student.head.dropout = 0.0
    trainer = ready(recipe, tmp_path / "run")
    assert trainer.loader.total_batch_size == 4  # half of the recipe's 8: the other half is repeated
    first, second, third = three_steps(trainer, monkeypatch)
    assert first.batch.last_batch
    assert len(first.step.index) == 4
    assert first.batch.last_batch.logits.isnan().all()
    teacher = trainer.sources["teacher"]
    assert isinstance(teacher, TeacherSource)
    for then, now in ((first, second), (second, third)):
        new = then.step.index[-4:]
        assert now.step.index[:4].tolist() == new.tolist()
        assert not set(now.step.index[4:].tolist()) & set(now.step.index[:4].tolist())
        assert now.batch.last_batch
        remembered = now.batch.last_batch.logits
        with torch.no_grad():
            expected = then.before.train()(then.step.pixels)[-4:]
        torch.testing.assert_close(remembered[:4], expected, rtol=1e-4, atol=1e-4)
        assert remembered[4:].isnan().all()
        assert now.batch.teacher
        for place, size in enumerate((32, 48)):
            stored = torch.stack([trainer.images[int(image)][1][place] for image in new])
            view = Views(recipe.data.augment, 30, recipe.seed + (1 << 41))
            view.set_epoch(0)
            assert torch.equal(now.step.views[size][:4], view(new, stored, size))
            assert not torch.equal(now.step.views[size][:4], then.step.views[size][-4:])
        shown = teacher.model(now.step.views[48])
        torch.testing.assert_close(now.batch.teacher.logits, shown, rtol=1e-3, atol=1e-3)


def test_a_repeated_image_has_two_views_for_whoever_compares_two(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = ready(tiny(distill={"method": "ddgsd", "terms": {"dlb": 1}}), tmp_path / "run")
    first, second, _ = three_steps(trainer, monkeypatch)
    assert first.step.twins is not None
    assert second.step.twins is not None
    assert torch.equal(second.step.pixels[:4], first.step.twins)
    assert torch.equal(second.step.twins[:4], first.step.pixels)
    assert second.batch.twin
    assert second.batch.twin.logits.shape == second.batch.student.logits.shape


def test_weights_of_one_step_ago_and_answers_of_the_last_epoch_are_the_ones_of_then(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(distill={"method": "vanilla", "terms": {"ssd": 1, "pskd": 1, "bce": 0}})
    recipe.student.head.dropout = 0.0
    trainer = ready(recipe, tmp_path / "run")
    loader = iter(trainer.loader)
    trainer._start(0)
    before = copy.deepcopy(trainer.model)
    trainer._step(0, 0, *next(loader))
    step = trainer._look(*next(loader))
    batch = trainer._batch(step)
    assert batch.previous
    assert batch.last_epoch
    # One step ago, but normalized over this step's images.
    before.train()
    with batch_statistics_only(before):
        torch.testing.assert_close(batch.previous.logits, before(step.pixels), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(batch.previous.logits, batch.student.logits, atol=1e-3)
    assert batch.last_epoch.logits.isnan().all()
    for source in trainer.sources.values():
        source.learned(step, batch.student)
        source.finish(0)
    remembered = trainer.sources["last_epoch"].outputs(step).logits
    torch.testing.assert_close(remembered, batch.student.logits.detach())


def test_an_extra_pass_moves_no_running_statistics_and_draws_no_dropout() -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Dropout(0.5)).train()
    norm, dropout = model
    images = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    with batch_statistics_only(model):
        # Those of the batch, not the running ones, which are still 0 and 1.
        spread = (images - images.mean(0)) / images.std(0, unbiased=False)
        torch.testing.assert_close(model(images), spread, rtol=1e-3, atol=1e-3)
    assert (norm.running_mean.tolist(), norm.running_var.tolist()) == ([0.0, 0.0], [1.0, 1.0])
    assert (norm.momentum, norm.training, dropout.training) == (0.1, True, True)


class Both:
    """Two processes that have seen the same images."""

    device = torch.device("cpu")

    def reduce(self, tensor: torch.Tensor, how: str) -> torch.Tensor:
        assert how == "sum"
        return 2 * tensor


@pytest.mark.parametrize("accelerator", [Accelerator(), Both()], ids=["one process", "two"])
def test_the_last_epoch_is_the_one_before_and_no_earlier_one(accelerator: Any) -> None:
    last = LastEpoch(4, 2, accelerator)

    def step(*images: int) -> Step:
        index = torch.tensor(images)
        blank = torch.zeros(len(images), 2)
        return Step(index, {}, {}, blank, blank, None, None)

    for epoch, images in enumerate(([0, 1], [1, 2])):
        last.start(epoch)
        for image in images:
            last.learned(step(image), Outputs(torch.full((1, 2), 10.0 * epoch + image)))
        last.finish(epoch)
    answers = last.outputs(step(0, 1, 2, 3)).logits
    assert answers[[0, 3]].isnan().all()
    assert answers[[1, 2]].tolist() == [[11.0, 11.0], [12.0, 12.0]]
