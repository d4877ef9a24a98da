"""What the training loop makes of a recipe's rates and limits, and what it hands to the terms."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_sources import ready
from torch import Tensor

from mlkdc.errors import MlkdcError
from mlkdc.losses import Batch, Objective
from mlkdc.methods import method_names
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.records.results import METRICS_FILE
from mlkdc.train import loop
from mlkdc.train.loop import Trainer
from mlkdc.train.predict import predict

pytestmark = pytest.mark.slow

Tiny = Callable[..., Recipe]

#: 30 images in batches of 8 are 3 steps.
PLAIN = {"epochs": 2, "batch_size": 8, "optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 0.02}


class Heard(Progress):
    """Remembers the rate and the loss that each batch was reported with."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []

    def step(self, figures: Any) -> None:
        self.rates.append(figures["lr"])
        self.losses.append(figures["bce"])


def vanilla(tiny: Tiny, **train: Any) -> Recipe:
    return tiny(distill={"method": "vanilla"}, teacher=None, train={**PLAIN, **train})


def cosine(step: float, steps: int) -> float:
    return 0.02 * (1 + math.cos(math.pi * step / steps)) / 2


def test_each_update_is_made_at_the_rate_of_its_step(tiny: Tiny, tmp_path: Path) -> None:
    trainer = ready(vanilla(tiny, schedule="cosine"), tmp_path / "run")
    heard = Heard()
    trainer.progress = heard
    used = []
    trainer.optimizer.optimizer.register_step_pre_hook(
        lambda optimizer, *_: used.append([group["lr"] for group in optimizer.param_groups])
    )
    trainer.train(resume=False)
    assert len(used) == 6
    for step, rates in enumerate(used):
        assert rates == pytest.approx([cosine(step, 6)] * len(rates), rel=1e-6)
    # What is reported is the rate that comes next.
    assert heard.rates == pytest.approx([cosine(step + 1, 6) for step in range(6)], abs=1e-9)
    lines = (trainer.folder / METRICS_FILE).read_text(encoding="utf-8").splitlines()
    epochs = [json.loads(line) for line in lines]
    assert [epoch["lr"] for epoch in epochs] == pytest.approx([cosine(3, 6), 0], abs=1e-9)
    assert [epoch["step"] for epoch in epochs] == [3, 6]
    means = [sum(heard.losses[:3]) / 3, sum(heard.losses[3:]) / 3]
    assert [epoch["terms"]["bce"] for epoch in epochs] == pytest.approx(means)


def test_a_training_that_begins_anew_begins_its_log_anew(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise MlkdcError("the disk is full")

    trainer = ready(vanilla(tiny), tmp_path / "run")
    log = trainer.folder / METRICS_FILE
    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", full)
        with pytest.raises(MlkdcError):
            trainer.train(resume=False)
    assert len(log.read_text(encoding="utf-8").splitlines()) == 1
    again = ready(vanilla(tiny), tmp_path / "again")
    again.folder = trainer.folder
    again.train(resume=True)
    lines = log.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_the_time_of_a_training_is_that_before_and_after_it_was_stopped(tiny: Tiny, tmp_path: Path) -> None:
    trainer = ready(vanilla(tiny, epochs=3, stop_after=2), tmp_path / "run")
    took = trainer.train(resume=False)
    assert took > 0
    again = ready(vanilla(tiny, epochs=3), tmp_path / "again")
    again.folder = trainer.folder
    total = again.train(resume=True)
    last = json.loads((trainer.folder / METRICS_FILE).read_text(encoding="utf-8").splitlines()[2])
    assert total == pytest.approx(took + last["seconds"])


def test_a_prediction_leaves_the_mode_of_the_model_and_its_statistics(tiny: Tiny, tmp_path: Path) -> None:
    trainer = ready(vanilla(tiny), tmp_path / "run")
    model = trainer.model
    assert trainer.validation is not None
    before = copy.deepcopy(model.state_dict())
    for training in (True, False):
        predict(model.train(training), trainer.validation)
        assert model.training is training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_step_of_several_batches_is_one_step_of_the_schedule(tiny: Tiny, tmp_path: Path) -> None:
    trainer = ready(vanilla(tiny, schedule="cosine", accumulate=2), tmp_path / "run")
    heard = Heard()
    trainer.progress = heard
    trainer.train(resume=False)
    # Two batches and the one that is left: 2 steps an epoch.
    assert heard.rates == pytest.approx([cosine(step, 4) for step in (0, 1, 2, 2, 3, 4)], abs=1e-9)


def test_each_epoch_has_random_numbers_of_its_own_and_the_same_again_where_it_is_resumed(
    tiny: Tiny, tmp_path: Path
) -> None:
    trainer = ready(vanilla(tiny), tmp_path / "run")
    draws = []
    for epoch in (0, 1, 1):
        trainer._start(epoch)
        draws.append(torch.rand(4).tolist())
    assert draws[0] != draws[1] == draws[2]


def moved(trainer: Trainer) -> float:
    """How far the first update moves all weights together."""
    trainer._start(0)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer._step(0, 0, *next(iter(trainer.loader)))
    total = 0.0
    for old, new in zip(before, trainer.model.parameters(), strict=True):
        total += float((new.detach() - old).double().square().sum())
    return math.sqrt(total)


def test_a_clipped_gradient_moves_the_weights_by_no_more_than_the_limit(tiny: Tiny, tmp_path: Path) -> None:
    free = moved(ready(vanilla(tiny, schedule="constant"), tmp_path / "free"))
    assert free > 2 * 0.02
    for limit, expected in ((0.5, 0.02 * 0.5), (1.5, 0.02 * 1.5), (1e6, free)):
        recipe = vanilla(tiny, schedule="constant", clip_grad=limit)
        distance = moved(ready(recipe, tmp_path / str(limit)))
        assert distance == pytest.approx(expected, rel=1e-3)


def test_a_step_begins_without_the_gradient_of_the_one_before(tiny: Tiny, tmp_path: Path) -> None:
    trainer = ready(vanilla(tiny, accumulate=2), tmp_path / "run")
    trainer._start(0)
    left = []
    for number, loaded in zip(range(3), trainer.loader, strict=False):
        trainer._step(0, number, *loaded)
        left.append(
            any(parameter.grad is not None and parameter.grad.any() for parameter in trainer.model.parameters())
        )
    # Of two batches that make a step together, and the one that is left.
    assert left == [True, False, False]


class Noted(Objective):
    """Remembers the progress of every batch, and how often labels are said to occur."""

    def __init__(self, plain: Objective) -> None:
        super().__init__(plain.terms, plain.weights, plain.ramp)
        self.progress: list[float] = []
        self.frequency: Tensor | None = None

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        self.progress.append(batch.progress)
        self.frequency = batch.frequency
        return super().__call__(batch)


@pytest.mark.parametrize(
    ("accumulate", "sixths"),
    # Batches of one step are as far as its first one.
    [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 0, 2, 3, 3, 5])],
)
def test_terms_hear_what_fraction_of_the_training_is_done(
    accumulate: int, sixths: list[int], tiny: Tiny, tmp_path: Path
) -> None:
    trainer = ready(vanilla(tiny, accumulate=accumulate), tmp_path / "run")
    noted = Noted(trainer.objective)
    trainer.objective = noted
    trainer.train(resume=False)
    assert noted.progress == pytest.approx([sixth / 6 for sixth in sixths])


def test_the_fraction_is_of_all_epochs_where_a_training_stops_early(tiny: Tiny, tmp_path: Path) -> None:
    trainer = ready(vanilla(tiny, epochs=4, stop_after=2), tmp_path / "run")
    noted = Noted(trainer.objective)
    trainer.objective = noted
    trainer.train(resume=False)
    assert noted.progress == pytest.approx([step / 12 for step in range(6)])


def test_terms_hear_how_often_each_label_occurs_in_training(tiny: Tiny, tmp_path: Path) -> None:
    trainer = ready(vanilla(tiny, epochs=1), tmp_path / "run")
    noted = Noted(trainer.objective)
    trainer.objective = noted
    trainer.train(resume=False)
    samples = trainer.data.split("train")
    expected = [sum(label in sample.labels for sample in samples) / len(samples) for label in range(3)]
    assert noted.frequency is not None
    assert noted.frequency.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", method_names())
def test_only_the_students_own_outputs_carry_a_gradient(
    name: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph behind those of a source would be kept, and differentiated, for nothing."""
    trainer = ready(tiny(distill={"method": name}), tmp_path / "run")
    trainer._start(0)
    batches = []
    plain = Trainer._batch

    def note(self: Trainer, step: Any) -> Batch:
        batches.append(plain(self, step))
        return batches[-1]

    monkeypatch.setattr(Trainer, "_batch", note)
    for number, loaded in zip(range(2), trainer.loader, strict=False):
        trainer._step(0, number, *loaded)
    for batch in batches:
        for source, outputs in batch.outputs().items():
            for value in outputs.present().values():
                for tensor in value if isinstance(value, tuple) else (value,):
                    assert tensor.requires_grad == (source in ("student", "twin")), source
