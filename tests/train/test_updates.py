"""How the weights are moved: rates by part, the head first, and batches that make a step together."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, OneCycleLR

from mlkdc.data.runs import read_data
from mlkdc.errors import UsageError
from mlkdc.losses import make_objective
from mlkdc.models import build_model
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe, Train
from mlkdc.train import distill
from mlkdc.train.loop import Trainer
from mlkdc.train.optim import make_optimizer, make_schedule
from mlkdc.train.sources import TeacherSource
from mlkdc.train.sources.previous import Previous
from mlkdc.train.steps import Steps

pytestmark = pytest.mark.slow

Tiny = Callable[..., Recipe]
State = dict[str, Tensor]


def trainer_of(recipe: Recipe, folder: Path, without_batch_norm: bool = False) -> Trainer:
    data, objective = read_data(recipe), make_objective(recipe.distill)
    torch.manual_seed(0)
    student: Any = build_model(recipe.student, len(data.classes), recipe.data.image_size)
    if without_batch_norm:
        # With constant statistics an image's outputs do not depend on the others of its batch.
        student = freeze_batch_norm_2d(student)
    teacher = None
    if objective.needs_teacher:
        assert recipe.teacher
        teacher = TeacherSource(build_model(recipe.teacher, len(data.classes), 48), 48)
    folder.mkdir()
    return Trainer(folder, recipe, student, data, objective, teacher, Progress())


def state_of(model: nn.Module) -> State:
    return copy.deepcopy(model.state_dict())


def same(one: State, other: State) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def steps_of(trainer: Trainer, epoch: int) -> Any:
    """Take one step after the other of an epoch; gives the number of each."""
    trainer._start(epoch)
    for number, (index, images) in enumerate(trainer.loader):
        trainer._step(epoch, number, index, images)
        yield number


class TwoParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(2, 3), nn.Linear(3, 1)


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "constant"])
def test_each_part_follows_the_schedule_of_its_own_rate(schedule: Any) -> None:
    spec = Train(lr=0.01, backbone_lr=0.2, schedule=schedule, epochs=2, optimizer="adamw", weight_decay=0.3)
    model = TwoParts()
    optimizer = make_optimizer(model, model.backbone, spec)
    groups = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            groups[parameter] = group
    assert len(groups) == len(list(model.parameters())) == sum(len(group["params"]) for group in optimizer.param_groups)
    assert [groups[item]["weight_decay"] for item in model.parameters()] == [0.3, 0.0, 0.3, 0.0]
    alone = []
    for part, rate in ((model.head, 0.01), (model.backbone, 0.002)):
        other = torch.optim.AdamW(part.parameters(), lr=rate)
        reference: Any = ConstantLR(other, 1.0, 1)
        if schedule == "onecycle":
            reference = OneCycleLR(other, rate, total_steps=10, pct_start=0.2)
        elif schedule == "cosine":
            reference = CosineAnnealingLR(other, T_max=10)
        alone.append((part, other, reference))
    scheduled = make_schedule(optimizer, spec, steps_per_epoch=5)
    for _ in range(9):
        for part, other, reference in alone:
            for parameter in part.parameters():
                assert groups[parameter]["lr"] == pytest.approx(other.param_groups[0]["lr"], rel=1e-12)
            other.step()
            reference.step()
        assert scheduled.get_last_lr()[0] == groups[model.head.weight]["lr"]
        optimizer.step()
        scheduled.step()


def one_number(name: str, momentum: float = 0.9, **changes: Any) -> tuple[nn.Linear, torch.optim.Optimizer, Train]:
    """A weight of 1 and its optimizer."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    spec = Train(optimizer=name, momentum=momentum, **{"lr": 0.01, "epochs": 1, **changes})
    return model, make_optimizer(model, nn.Linear(1, 1), spec), spec


def test_sgd_has_the_momentum_of_the_recipe() -> None:
    model, optimizer, _ = one_number("sgd", momentum=0.7, weight_decay=0.0)
    for expected in (1 - 0.01 * 2, 1 - 0.01 * (2 + 3.4), 1 - 0.01 * (2 + 3.4 + 4.38)):
        model.weight.grad = torch.full((1, 1), 2.0)
        optimizer.step()
        assert model.weight.item() == pytest.approx(expected, abs=1e-6)


def test_adamw_decays_beside_the_gradient_and_adam_within_it() -> None:
    # Where the gradient is 0, AdamW shrinks the weight by rate times decay; Adam makes its usual step of one rate.
    for name, expected in (("adamw", 1 - 0.01 * 0.3), ("adam", 1 - 0.01)):
        model, optimizer, _ = one_number(name, weight_decay=0.3)
        model.weight.grad = torch.zeros(1, 1)
        optimizer.step()
        assert model.weight.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_one_cycle_changes_the_momentum_of_adam_alone(name: str) -> None:
    _, optimizer, spec = one_number(name, momentum=0.7, schedule="onecycle", weight_decay=0.0)
    schedule = make_schedule(optimizer, spec, steps_per_epoch=10)
    group = optimizer.param_groups[0]
    momenta = []
    for _ in range(9):
        momenta.append(group["momentum"] if name == "sgd" else group["betas"][0])
        optimizer.step()
        schedule.step()
    if name == "sgd":
        assert momenta == [0.7] * 9
    else:
        assert min(momenta) == pytest.approx(0.85)
        assert max(momenta) == pytest.approx(0.95)


def test_a_cycle_without_warmup_rises_in_its_first_step() -> None:
    _, optimizer, spec = one_number("sgd", schedule="onecycle", warmup=0)
    schedule = make_schedule(optimizer, spec, steps_per_epoch=20)
    rates = []
    for _ in range(20):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    # A 25th of the highest rate is what torch begins with.
    assert rates[:2] == pytest.approx([0.01 / 25, 0.01])
    assert rates[1:] == sorted(rates[1:], reverse=True)


def test_a_training_that_stops_early_keeps_the_schedule_of_all_epochs() -> None:
    for stop_after in (None, 2):
        _, optimizer, spec = one_number("sgd", schedule="cosine", epochs=8, stop_after=stop_after, weight_decay=0.0)
        schedule = make_schedule(optimizer, spec, steps_per_epoch=5)
        for _ in range(10):
            optimizer.step()
            schedule.step()
        assert schedule.get_last_lr()[0] == pytest.approx(0.01 * (1 + math.cos(math.pi * 10 / 40)) / 2)


def test_a_tenth_of_the_rate_moves_the_backbone_a_tenth_as_far(tiny: Tiny, tmp_path: Path) -> None:
    moved = {}
    for factor in (1.0, 0.1):
        train = {"epochs": 1, "batch_size": 8, "optimizer": "sgd", "lr": 0.001, "schedule": "constant"}
        recipe = tiny(distill={"method": "vanilla"}, train={**train, "backbone_lr": factor})
        trainer = trainer_of(recipe, tmp_path / str(factor))
        before = copy.deepcopy(trainer.model)
        next(steps_of(trainer, 0))
        moved[factor] = [
            new.detach() - old.detach()
            for new, old in zip(trainer.model.parameters(), before.parameters(), strict=True)
        ]
        backbone = len(list(before.backbone.parameters()))
    for number, (far, near) in enumerate(zip(moved[1.0], moved[0.1], strict=True)):
        expected = far * 0.1 if number < backbone else far
        torch.testing.assert_close(near, expected, rtol=1e-2, atol=1e-7)
    assert sum(step.abs().sum() for step in moved[0.1][:backbone]) > 0


@pytest.mark.parametrize("method", ["vanilla", "mskd", "reviewkd"])
def test_the_head_is_trained_first_and_the_backbone_stays_as_it_is(method: str, tiny: Tiny, tmp_path: Path) -> None:
    train = {"epochs": 2, "batch_size": 8, "lr": 0.003, "weight_decay": 0.1, "head_first": 0.34}
    trainer = trainer_of(tiny(distill={"method": method}, train=train), tmp_path / "run")
    backbone, head = state_of(trainer.model.backbone), state_of(trainer.model.head)
    kept_graph = []
    trainer.model.head.register_forward_pre_hook(lambda _, inputs: kept_graph.append(inputs[0].requires_grad))
    # 3 steps an epoch, 6 in all: two of them are the head's.
    for number in steps_of(trainer, 0):
        # Not the backbone's statistics either, nor its weights by their decay.
        assert same(backbone, trainer.model.backbone.state_dict()) == (number < 2)
        assert not same(head, trainer.model.head.state_dict())
        assert any(kept_graph) == (number == 2)
        kept_graph.clear()
        previous = trainer.sources.get("previous")
        if isinstance(previous, Previous) and number < 2:
            assert not any(module.training for module in previous.copy.backbone.modules())
    for _ in steps_of(trainer, 1):
        assert trainer.model.backbone.training


def test_the_fraction_is_of_the_steps_of_the_optimizer() -> None:
    steps = Steps(Train(epochs=4, accumulate=3, head_first=0.5), batches=7)
    assert steps.per_epoch == 3
    assert [steps.size_of(batch) for batch in range(7)] == [3, 3, 3, 3, 3, 3, 1]
    assert [steps.first_of(batch) for batch in range(7)] == [0, 0, 0, 3, 3, 3, 6]
    assert [batch for batch in range(7) if steps.ends(batch)] == [2, 5, 6]
    trained = [steps.trains_backbone(epoch, batch) for epoch in range(4) for batch in range(7)]
    # Half of 12 steps are the first two epochs.
    assert trained == [False] * 14 + [True] * 14
    # Of all epochs, also where the training stops before.
    stopped = Steps(Train(epochs=4, stop_after=2, head_first=0.25), batches=2)
    trained = [stopped.trains_backbone(epoch, batch) for epoch in range(2) for batch in range(2)]
    assert trained == [False, False, True, True]


@pytest.mark.parametrize(
    "distill_section",
    [
        {"method": "vanilla", "form": "reference"},
        {"method": "vanilla", "form": "paper"},
        {"method": "l2d", "terms": {"cd": 0, "id": 5}},
        {"method": "tf-kd"},
    ],
)
@pytest.mark.parametrize(("batches", "accumulate"), [(14, 2), (7, 4), (4, 9)])
def test_batches_of_one_step_are_one_large_batch(
    distill_section: dict[str, Any], batches: int, accumulate: int, tiny: Tiny, tmp_path: Path
) -> None:
    states = []
    for size, number in ((28, 1), (batches, accumulate)):
        train = {"epochs": 3, "batch_size": size, "optimizer": "sgd", "lr": 0.01, "clip_grad": 5, "accumulate": number}
        recipe = tiny(distill=distill_section, train=train)
        recipe.student.head.dropout = 0.0
        trainer = trainer_of(recipe, tmp_path / f"{size}-{number}-{len(states)}", without_batch_norm=True)
        initial = state_of(trainer.model)
        trainer.train(resume=False)
        states.append(trainer.model.state_dict())
        lines = [json.loads(line) for line in (trainer.folder / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3]
    moved = 0.0
    for name, expected in states[0].items():
        torch.testing.assert_close(states[1][name], expected, rtol=1e-4, atol=2e-6)
        moved = max(moved, float((expected - initial[name]).abs().max()))
    assert moved > 1e-3


def test_step_self_distillation_compares_with_the_step_before_not_the_batch_before(tiny: Tiny, tmp_path: Path) -> None:
    train = {"epochs": 1, "batch_size": 4, "lr": 0.003, "accumulate": 2}
    trainer = trainer_of(tiny(distill={"method": "mskd"}, train=train), tmp_path / "run")
    previous = trainer.sources["previous"]
    assert isinstance(previous, Previous)
    weights = [dict(trainer.model.named_parameters())]
    weights[0] = {name: tensor.detach().clone() for name, tensor in weights[0].items()}
    compared = []
    for _ in steps_of(trainer, 0):
        compared.append({name: tensor.clone() for name, tensor in previous.copy.named_parameters()})
        weights.append({name: tensor.detach().clone() for name, tensor in trainer.model.named_parameters()})
    # After batches 0..6; updates come after 1, 3, 5 and 6, and the copy is of right before them.
    expected = [0, 0, 0, 2, 2, 4, 6]
    for copied, number in zip(compared, expected, strict=True):
        assert same(copied, weights[number])
    assert not same(weights[0], weights[2])


def test_batches_that_repeat_the_one_before_do_not_make_a_step_together(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(distill={"method": "dlb"}, train={"epochs": 1, "batch_size": 8, "accumulate": 2})
    with pytest.raises(UsageError, match=r"dlb compares .*train\.accumulate=1"):
        distill(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
