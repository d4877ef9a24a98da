"""Averaged weights and the best epoch's: what is averaged, what is chosen, and that a stopped run chooses the same."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from mlkdc.cli import cli
from mlkdc.data.runs import run_data
from mlkdc.errors import Interrupted
from mlkdc.images import load_square
from mlkdc.models import MultiLabelModel
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe, Train
from mlkdc.records.results import read_epochs
from mlkdc.records.run import Run
from mlkdc.report import collect
from mlkdc.train import distill, load_model
from mlkdc.train.checkpoint import load_checkpoint
from mlkdc.train.keep import Keeper
from mlkdc.train.loop import Trainer

pytestmark = pytest.mark.slow

Tiny = Callable[..., Recipe]
TRAIN = {"epochs": 3, "batch_size": 8, "optimizer": "adamw", "lr": 0.01}
#: Everything at once that moves or chooses weights: 3 batches an epoch are 2 steps; the head's half ends in epoch 2.
ALL = {**TRAIN, "ema": 0.9, "keep": "best", "accumulate": 2, "head_first": 0.5, "backbone_lr": 0.3}


def vanilla(tiny: Tiny, **train: Any) -> Recipe:
    return tiny(distill={"method": "vanilla"}, teacher=None, train={**TRAIN, **train})


def alike(one: Any, other: Any) -> bool:
    """Whether nested mappings and lists are equal, tensors bit for bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(3, 2), nn.BatchNorm1d(2)

    def fill(self, value: float) -> None:
        for tensor in self.state_dict().values():
            tensor.fill_(value)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_average_is_that_of_the_slow_loop_and_forgets_the_initial_weights(decay: float) -> None:
    model: Any = Small()
    model.fill(1000.0)
    keeper = Keeper(model, Train(ema=decay), validated=True)
    generator = torch.Generator().manual_seed(0)
    expected = 0.0
    for step in range(1, 41):
        value = float(torch.rand(1, generator=generator))
        model.fill(value)
        keeper.updated(step)
        kept = min(decay, 1 - step ** (-2 / 3))
        expected = kept * expected + (1 - kept) * value
    assert keeper.averaged is not None
    state = keeper.averaged.state_dict()
    for name in ("layer.weight", "layer.bias", "norm.weight", "norm.running_mean", "norm.running_var"):
        torch.testing.assert_close(state[name], torch.full_like(state[name], expected))


SCORES = [(10.0, 5.0), (30.0, 30.0), (20.0, 40.0), (35.0, 25.0)]


@pytest.mark.parametrize(
    ("keep", "ema", "epochs", "kept", "value"),
    [
        ("last", 0.0, 4, (4, False), 4.0),
        ("last", 0.9, 4, (4, False), 4.0),
        ("last", 0.9, 3, (3, True), 103.0),
        ("best", 0.0, 3, (2, False), 2.0),
        ("best", 0.9, 2, (2, False), 2.0),
        ("best", 0.9, 4, (3, True), 103.0),
    ],
)
def test_the_weights_with_the_highest_score(
    keep: Any, ema: float, epochs: int, kept: tuple[int, bool], value: float
) -> None:
    model: Any = Small()
    keeper = Keeper(model, Train(ema=ema, keep=keep), validated=True)
    for epoch, (own, averaged) in enumerate(SCORES[:epochs], start=1):
        model.fill(epoch)
        if ema:
            average: Any = keeper.averaged
            average.fill(100 + epoch)
            keeper.end_of_epoch(epoch, own, averaged)
        else:
            assert keeper.averaged is None
            keeper.end_of_epoch(epoch, own, None)
    # Also of a keeper that was stopped here.
    again: Any = copy.deepcopy(model)
    resumed = Keeper(again, Train(ema=ema, keep=keep), validated=True)
    resumed.restore(copy.deepcopy(keeper.state()))
    for one, filled in ((keeper, model), (resumed, again)):
        chosen = one.install()
        assert (chosen.epoch, chosen.average) == kept
        assert filled.layer.weight.unique().tolist() == [value]
        assert filled.norm.running_mean.unique().tolist() == [value]


def test_of_epochs_with_the_same_score_the_earliest_is_kept() -> None:
    model: Any = Small()
    keeper = Keeper(model, Train(keep="best"), validated=True)
    for epoch, score in ((1, 20.0), (2, 30.0), (3, 30.0)):
        model.fill(epoch)
        keeper.end_of_epoch(epoch, score, None)
    assert keeper.install().epoch == 2
    assert model.layer.weight.unique().tolist() == [2.0]


def val_map(model: MultiLabelModel, run: Run) -> float:
    """mAP on the validation images in percent, by scikit-learn."""
    data = run_data(run)
    pixels = np.stack([load_square(sample.image, 32) for sample in data.split("val")]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        scores = model(torch.from_numpy(pixels).float()).sigmoid().numpy()
    return 100 * float(average_precision_score(data.targets("val"), scores, average="macro"))


def test_the_run_ends_with_the_weights_that_scored_best_and_says_so(tiny: Tiny, tmp_path: Path) -> None:
    recipe = vanilla(tiny, epochs=5, ema=0.7, keep="best")
    run = distill(recipe, out=tmp_path / "run")
    scores = {}
    for line in run.epochs:
        assert line.val_map_percent is not None
        assert line.val_map_ema_percent is not None
        assert line.val_map_percent != line.val_map_ema_percent
        scores[line.epoch, False] = line.val_map_percent
        scores[line.epoch, True] = line.val_map_ema_percent
    results = run.results
    assert results.kept_epoch is not None
    assert scores[results.kept_epoch, results.kept_average] == max(scores.values())
    assert val_map(load_model(run), run) == pytest.approx(max(scores.values()), abs=1e-3)
    assert results.chosen_on == "val"
    assert results.scored_on == "test"


def test_averaging_does_not_change_what_is_averaged(tiny: Tiny, tmp_path: Path) -> None:
    states = []
    for ema in (0.0, 0.9):
        run = distill(vanilla(tiny, ema=ema), out=tmp_path / str(ema))
        states.append(load_checkpoint(run.checkpoint)["model"])
    assert alike(*states)


def test_every_update_of_the_weights_is_averaged_once(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    update = Trainer._update

    def noted(trainer: Trainer) -> None:
        update(trainer)
        seen.append(copy.deepcopy(trainer.model.state_dict()))

    monkeypatch.setattr(Trainer, "_update", noted)
    run = distill(vanilla(tiny, ema=0.8, accumulate=2), out=tmp_path / "run")
    assert len(seen) == 3 * 2
    average = load_checkpoint(run.checkpoint)["keeper"]["average"]
    for name, value in average.items():
        if value.is_floating_point():
            expected = torch.zeros_like(value)
            for step, state in enumerate(seen, start=1):
                kept = min(0.8, 1 - step ** (-2 / 3))
                expected = kept * expected + (1 - kept) * state[name]
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


class Stop:
    """Interrupts trainings after their first epoch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def __call__(self, recipe: Recipe, out: Path) -> None:
        after = Trainer._end_of_epoch

        def stop(trainer: Trainer, epoch: int, *rest: Any) -> None:
            after(trainer, epoch, *rest)
            raise KeyboardInterrupt

        self.monkeypatch.setattr(Trainer, "_end_of_epoch", stop)
        with pytest.raises(Interrupted):
            distill(recipe, out=out)
        self.monkeypatch.setattr(Trainer, "_end_of_epoch", after)


def scripted(scores: Iterator[float]) -> Callable[..., float]:
    return lambda *_: next(scores)


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        (None, None),
        # Own and averaged by epoch: the best comes before the stop, and after it.
        ([50.0, 60.0, 40.0, 30.0, 20.0, 10.0], (1, True)),
        ([50.0, 40.0, 10.0, 55.0, 20.0, 10.0], (2, True)),
        ([50.0, 40.0, 45.0, 44.0, 60.0, 10.0], (3, False)),
    ],
)
@pytest.mark.parametrize("method", ["vanilla", "mskd"])
def test_a_stopped_run_ends_where_an_uninterrupted_one_ends(
    method: str,
    scores: list[float] | None,
    kept: tuple[int, bool] | None,
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tiny(distill={"method": method}, teacher=None, train=ALL)
    if scores is not None:
        monkeypatch.setattr(Trainer, "_validate", scripted(iter([*scores, *scores])))
    complete = distill(recipe, out=tmp_path / "complete")
    Stop(monkeypatch)(recipe, tmp_path / "parts")
    resumed = distill(None, resume=tmp_path / "parts")
    states = [load_checkpoint(run.checkpoint) for run in (complete, resumed)]
    for state in states:
        assert len(state.pop("keeper")["average"]) > 0
        state.pop("seconds")
    assert alike(*states)
    assert alike(*[load_checkpoint(run.checkpoint)["keeper"] for run in (complete, resumed)])
    assert alike(*[load_model(run).state_dict() for run in (complete, resumed)])
    first, second = complete.results, resumed.results
    assert (first.kept, first.metrics) == (second.kept, second.metrics)
    if kept is not None:
        assert (second.kept_epoch, second.kept_average) == kept
    maps = [
        [(line.val_map_percent, line.val_map_ema_percent) for line in read_epochs(r.path)] for r in (complete, resumed)
    ]
    assert maps[0] == maps[1]
    # The last epoch's weights are others than those that were kept before.
    if kept is not None and kept[0] < 3:
        assert not alike(load_model(resumed).state_dict(), states[1]["model"])


def test_without_validation_images_the_last_weights_are_kept_which_is_said_once(tiny: Tiny, tmp_path: Path) -> None:
    said: list[str] = []

    class Heard(Progress):
        def say(self, text: str) -> None:
            said.append(text)

    recipe = vanilla(tiny, ema=0.9, keep="best")
    recipe.data.train_splits = ["train", "val"]
    run = distill(recipe, out=tmp_path / "run", progress=Heard())
    assert sum("validation images, of which there are none" in line for line in said) == 1
    assert (run.results.kept, run.results.chosen_on) == ("after epoch 3", None)
    assert alike(load_model(run).state_dict(), load_checkpoint(run.checkpoint)["model"])
    assert 'val_map_ema_percent": null' in (run.path / "metrics.jsonl").read_text()


def test_the_command_says_which_weights_were_kept(tiny: Tiny, tmp_path: Path) -> None:
    for keep in ("best", "last"):
        path = tmp_path / f"{keep}.yaml"
        path.write_text(vanilla(tiny, keep=keep).to_yaml())
        done = CliRunner().invoke(cli, ["distill", "--recipe", str(path), "--out", str(tmp_path / keep)])
        assert done.exit_code == 0, done.output
        said = [line for line in done.output.splitlines() if line.startswith("weights: ")]
        if keep == "best":
            assert said == [f"weights: {Run(tmp_path / keep).results.kept}"]
        else:
            assert not said


def test_images_that_chose_the_weights_and_score_them_are_noted(tiny: Tiny, photos: Path, tmp_path: Path) -> None:
    labels = photos / "labels.csv"
    labels.write_text(labels.read_text().replace(",test", ",train"))
    chosen = distill(vanilla(tiny, keep="best"), out=tmp_path / "chosen")
    plain = distill(vanilla(tiny), out=tmp_path / "plain")
    assert (chosen.results.chosen_on, chosen.results.scored_on) == ("val", "val")
    notes = {run.path.name: " ".join(collect(run.path).notes) for run in (chosen, plain)}
    assert "chosen on the images they are scored on (val)" in notes["chosen"]
    assert "chosen on" not in notes["plain"]
