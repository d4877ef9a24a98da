"""Training from start to end: what a run folder holds, resuming, teachers, and everything that can go wrong."""

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mlkdc.data.runs import run_data
from mlkdc.errors import Interrupted, MlkdcError, UsageError
from mlkdc.images import load_square
from mlkdc.losses import Objective
from mlkdc.metrics.tuning import tune
from mlkdc.models import build_model
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.records.run import load_run, new_run_folder, newest_run
from mlkdc.train import distill, evaluate_run, load_model
from mlkdc.train.checkpoint import load_checkpoint, save_checkpoint
from mlkdc.train.loop import Trainer
from mlkdc.train.teacher import choose_teacher

pytestmark = pytest.mark.slow

Tiny = Callable[..., Recipe]
TINY_TRAIN = {"epochs": 2, "batch_size": 8, "optimizer": "adamw", "lr": 0.003}


class Heard(Progress):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[dict[str, float]] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def step(self, figures: Any) -> None:
        self.steps.append(dict(figures))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("rate", "said"), [(0.3, True), (1.0, False)])
def test_a_rate_for_pretrained_weights_is_named_where_there_are_none(
    rate: float, said: bool, tiny: Tiny, tmp_path: Path
) -> None:
    heard = Heard()
    train = TINY_TRAIN | {"epochs": 1, "backbone_lr": rate}
    distill(tiny(train=train, distill={"method": "vanilla"}, teacher=None), out=tmp_path / "run", progress=heard)
    assert any("train.backbone_lr=0.3 spares pretrained weights" in line for line in heard.lines) == said


def test_run_holds_all_that_is_needed_and_scores_what_it_says(tiny: Tiny, tmp_path: Path) -> None:
    heard = Heard()
    run = distill(tiny(), out=tmp_path / "run", command="mlkdc distill", progress=heard)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert set(lines[0]["terms"]) == {"bce", "mld", "cd", "id"}
    assert lines[0]["loss"] == pytest.approx(sum(lines[0]["terms"].values()))
    assert {"bce", "lr", "images_per_second"} <= set(heard.steps[0])
    # A run is loaded from its folder alone and gives the figures it recorded, recomputed here by hand.
    again = load_run(run.path)
    model, data = load_model(again), run_data(again)
    test = data.split("test")
    pixels = np.stack([load_square(sample.image, 32) for sample in test]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        scores = model(torch.from_numpy(pixels).float()).sigmoid().numpy()
    from sklearn.metrics import average_precision_score

    expected = 100 * average_precision_score(data.targets("test"), scores, average="macro")
    results = again.results
    assert results.scored_on == "test"
    assert results.thresholds_from == "val"
    assert results.map_percent == pytest.approx(expected, abs=1e-3)
    pixels = np.stack([load_square(sample.image, 32) for sample in data.split("val")]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        scores = model(torch.from_numpy(pixels).float()).sigmoid().numpy()
    np.testing.assert_allclose(results.thresholds, tune(data.targets("val"), scores).thresholds, atol=1e-4)
    assert results.teacher
    assert results.teacher.image_size == 48


def test_a_student_learns(tiny: Tiny, tmp_path: Path) -> None:
    train = {"epochs": 15, "batch_size": 8, "optimizer": "adamw", "lr": 0.01}
    run = distill(tiny(distill={"method": "vanilla"}, teacher=None, train=train), out=tmp_path / "run")
    assert run.results.map_percent > 85


def test_resume_ends_where_an_uninterrupted_run_ends(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = distill(tiny(), out=tmp_path / "complete")
    after = Trainer._end_of_epoch

    def stop_after_first(self: Trainer, epoch: int, *rest: Any) -> None:
        after(self, epoch, *rest)
        if self.recipe.name == "tiny":
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_end_of_epoch", stop_after_first)
    with pytest.raises(Interrupted, match=r"mlkdc distill --resume .*parts"):
        distill(tiny(), out=tmp_path / "parts")
    monkeypatch.setattr(Trainer, "_end_of_epoch", after)
    resumed = distill(None, resume=tmp_path / "parts")
    assert same(weights(complete.path), weights(resumed.path))
    assert len((resumed.path / "metrics.jsonl").read_text().splitlines()) == 2


def test_teacher_is_fine_tuned_once_and_its_cached_outputs_change_nothing(tiny: Tiny, tmp_path: Path) -> None:
    heard = Heard()
    first = distill(tiny(), out=tmp_path / "first", progress=heard)
    assert any("resnet10t" in line and "training" in line for line in heard.lines)
    heard = Heard()
    second = distill(tiny(), out=tmp_path / "second", progress=heard)
    assert any("reusing" in line for line in heard.lines)
    assert len(list(tmp_path.glob("teacher-*"))) == 1
    assert list((tmp_path / "cache" / "teachers").rglob("view-*.safetensors"))
    assert same(weights(first.path), weights(second.path))


def test_another_seed_keeps_the_teacher(tiny: Tiny, tmp_path: Path) -> None:
    distill(tiny(), out=tmp_path / "first")
    distill(tiny(seed=1), out=tmp_path / "second")
    assert len(list(tmp_path.glob("teacher-*"))) == 1
    assert not same(weights(tmp_path / "first"), weights(tmp_path / "second"))


@pytest.fixture
def vanilla(tiny: Tiny, tmp_path: Path) -> Path:
    """A finished vanilla run."""
    return distill(tiny(distill={"method": "vanilla"}, teacher=None), out=tmp_path / "vanilla").path


def test_a_run_or_its_weights_can_teach(vanilla: Path, tiny: Tiny, tmp_path: Path) -> None:
    by_run = choose_teacher(tiny(), str(vanilla))
    assert by_run.teacher
    assert (by_run.teacher.model, by_run.teacher.image_size) == ("mobilenetv2", 32)
    run = distill(by_run, out=tmp_path / "a")
    teacher = run.results.teacher
    assert teacher
    assert teacher.metrics == load_run(vanilla).results.metrics
    # Its weights, where they are and on their own.
    assert choose_teacher(tiny(), str(vanilla / "model.safetensors")).teacher == by_run.teacher
    spec = tiny().student.model_dump() | {"image_size": 32}
    by_file = choose_teacher(tiny(teacher=spec), alone(vanilla, tmp_path))
    teacher = distill(by_file, out=tmp_path / "b").results.teacher
    assert teacher
    assert teacher.run.endswith("alone.safetensors")


def alone(run: Path, folder: Path) -> str:
    """A run's weights, of which nothing but their labels is known."""
    return str(shutil.copy(run / "model.safetensors", folder / "alone.safetensors"))


@pytest.mark.parametrize("text", ["nothing.safetensors", "runs/nothing", "/nowhere/teacher.pth"])
def test_a_teacher_that_looks_like_a_path_is_no_mistyped_model(text: str, tiny: Tiny) -> None:
    with pytest.raises(UsageError, match=f"--teacher {text}: there is no such file or run folder"):
        choose_teacher(tiny(), text)


def test_teacher_file_of_another_architecture_or_label_set(vanilla: Path, tiny: Tiny, tmp_path: Path) -> None:
    file = alone(vanilla, tmp_path)
    wrong = choose_teacher(tiny(), file)
    with pytest.raises(UsageError, match=r"alone\.safetensors"):
        distill(wrong, out=tmp_path / "x")
    labels = tmp_path / "photos" / "labels.csv"
    labels.write_text(labels.read_text().replace("blue", "teal"))
    (tmp_path / "photos" / "classes.txt").write_text("red\ngreen\nteal\n")
    with pytest.raises(UsageError, match=r"teacher in .* not 'teal'"):
        distill(choose_teacher(tiny(), str(vanilla)), out=tmp_path / "y")
    spec = tiny().student.model_dump() | {"image_size": 32}
    with pytest.raises(UsageError, match=r"teacher file .* not 'teal'"):
        distill(choose_teacher(tiny(teacher=spec), file), out=tmp_path / "y")
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "y").exists()
    with pytest.raises(UsageError, match="did you mean resnet10t"):
        choose_teacher(tiny(), "resnet10x")


def test_what_cannot_work_is_reported_before_anything_is_trained_or_written(tiny: Tiny, tmp_path: Path) -> None:
    linear = tiny().student.model_dump() | {"head": {"kind": "linear"}}
    lost = tiny().student.model_dump() | {"weights": "lost.safetensors"}
    lost_teacher = tiny().teacher.model_dump() | {"weights": "lost.safetensors"}  # type: ignore[union-attr]
    cases = {"--teacher": {"teacher": None}, "head.kind=attention": {"student": linear}}
    cases |= {"lost.safetensors": {"student": lost}, "teacher.weights": {"teacher": lost_teacher}}
    for said, changes in cases.items():
        with pytest.raises(UsageError, match=said):
            distill(tiny(**changes), out=tmp_path / "x")
        assert not (tmp_path / "x").exists()
        assert not list(tmp_path.glob("teacher-*"))
    with pytest.raises(UsageError, match="uses no teacher; omit --teacher"):
        choose_teacher(tiny(distill={"method": "vanilla"}), "resnet18")


def test_teacher_and_student_may_differ_in_precision(tiny: Tiny, tmp_path: Path) -> None:
    run = distill(tiny(train={**TINY_TRAIN, "epochs": 1, "precision": "bf16"}), out=tmp_path / "run")
    assert run.finished


def test_thresholds_and_scores_are_not_taken_from_trained_images(tiny: Tiny, photos: Path, tmp_path: Path) -> None:
    recipe = tiny(distill={"method": "vanilla"})
    recipe.data.train_splits = ["train", "val"]
    results = distill(recipe, out=tmp_path / "run").results
    assert (results.scored_on, results.thresholds_from) == ("test", "test")
    assert "mAP" not in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_resume_drops_what_was_logged_after_the_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    run = distill(tiny(distill={"method": "vanilla"}), out=tmp_path / "run")
    (run.path / "results.json").unlink()
    with (run.path / "metrics.jsonl").open("a") as log:
        log.write('{"epoch": 3, "st')
    distill(None, resume=run.path)
    assert [json.loads(line)["epoch"] for line in (run.path / "metrics.jsonl").read_text().splitlines()] == [1, 2]


def test_folder_in_use_names_both_remedies(vanilla: Path, tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        distill(tiny(), out=vanilla)
    assert "--resume" in str(caught.value)
    assert "--out" in str(caught.value)
    root = tmp_path / "runs"
    (root / "tiny").mkdir(parents=True)
    assert new_run_folder(None, "tiny", root) == root / "tiny-2"
    with pytest.raises(UsageError, match="not a run folder"):
        load_run(root / "tiny")
    with pytest.raises(UsageError, match="mlkdc distill"):
        newest_run(root)
    assert newest_run(tmp_path).path == vanilla


def test_bad_images_are_named_and_skipped_only_on_request(tiny: Tiny, photos: Path, tmp_path: Path) -> None:
    (photos / "images" / "001.png").write_text("not an image")
    good = (photos / "images" / "003.png").read_bytes()
    (photos / "images" / "003.png").write_bytes(good[: len(good) // 2])
    with pytest.raises(UsageError) as caught:
        distill(tiny(distill={"method": "vanilla"}), out=tmp_path / "x")
    assert "001.png" in str(caught.value)
    assert "003.png" in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    heard = Heard()
    recipe = tiny(distill={"method": "vanilla"})
    recipe.data.skip_bad = True
    run = distill(recipe, out=tmp_path / "x", progress=heard)
    assert sorted(Path(name).name for name in run.results.data.skipped) == ["001.png", "003.png"]
    assert sum("skipped" in line for line in heard.lines) == 2
    evaluate_run(run)
    for number in range(48):
        if number % 5 < 3:
            (photos / f"images/{number:03d}.png").write_text("not an image")
    with pytest.raises(
        UsageError, match=r"none of the train images can be read.*nothing is left to train on; the first"
    ):
        distill(recipe, out=tmp_path / "y")
    assert not (tmp_path / "y" / "recipe.yaml").exists()


def test_a_label_that_training_never_sees(tiny: Tiny, photos: Path, tmp_path: Path) -> None:
    labels = photos / "labels.csv"
    lines = labels.read_text().splitlines()
    lines[4] = lines[4].rsplit(",", 2)[0] + ",red|unicorn,val"
    labels.write_text("\n".join(lines))
    (photos / "classes.txt").write_text("red\ngreen\nblue\nunicorn\n")
    with pytest.raises(UsageError, match=r"never in train.*unicorn.*allow_unseen"):
        distill(tiny(), out=tmp_path / "x")


def test_nan_loss_stops_with_the_terms_name(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Objective.__call__

    def broken(self: Objective, batch: Any) -> dict[str, torch.Tensor]:
        terms = plain(self, batch)
        return {**terms, "mld": terms["bce"] * float("nan")}

    monkeypatch.setattr(Objective, "__call__", broken)
    with pytest.raises(MlkdcError, match=r"'mld' became nan in epoch 1, step 1.*train\.lr"):
        distill(tiny(distill={"method": "vanilla"}), out=tmp_path / "x")
    assert not (tmp_path / "x" / "model.safetensors").exists()


FULL_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from mlkdc.train.checkpoint import save_checkpoint
path = Path(sys.argv[1])
save_checkpoint(path, {"epoch": 1})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
save_checkpoint(path, {"epoch": 2, "model": torch.zeros(100000)})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs file-size limits")
def test_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "mlkdc.errors.MlkdcError: could not write" in done.stderr
    assert load_checkpoint(path) == {"epoch": 1}
    assert [item.name for item in tmp_path.iterdir() if item.is_file()] == ["checkpoint.pt"]


def test_a_checkpoint_that_executes_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"epoch": print}, path)
    with pytest.raises(UsageError, match=r"checkpoint\.pt cannot be read"):
        load_checkpoint(path)
    save_checkpoint(path, {"epoch": 3})
    assert load_checkpoint(path)["epoch"] == 3


def test_ctrl_c_while_the_teacher_is_trained_can_be_resumed(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer._step

    def stop(*_: Any) -> dict[str, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_step", stop)
    with pytest.raises(Interrupted, match="--resume"):
        distill(tiny(), out=tmp_path / "run")
    monkeypatch.setattr(Trainer, "_step", step)
    assert distill(None, resume=tmp_path / "run").finished


def test_other_data_must_have_the_models_labels(vanilla: Path, photos: Path) -> None:
    labels = photos / "labels.csv"
    labels.write_text(labels.read_text().replace("blue", "teal"))
    (photos / "classes.txt").write_text("red\ngreen\nteal\n")
    with pytest.raises(UsageError, match=r"only in the data \(teal\).*only in the model \(blue\)"):
        run_data(load_run(vanilla))


def test_same_seed_same_model(tiny: Tiny) -> None:
    recipe = tiny()
    models = []
    for _ in range(2):
        torch.manual_seed(recipe.seed)
        models.append(build_model(recipe.student, 3, 32).state_dict())
    assert same(*models)


class Calls:
    """Counts the calls of functions by the modules that call them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.counts: Counter[str] = Counter()

    def count(self, module: str, name: str) -> None:
        function = getattr(sys.modules[module], name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.counts[name] += 1
            return function(*arguments, **options)

        self.monkeypatch.setattr(sys.modules[module], name, counted)


def test_nothing_is_built_twice_only_to_be_checked(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    calls.count("mlkdc.train.plan", "read_data")
    calls.count("mlkdc.train.plan", "decode_all")
    calls.count("mlkdc.train.checks", "make_objective")
    calls.count("mlkdc.train.distill", "make_objective")
    calls.count("mlkdc.train.job", "build_model")
    calls.count("mlkdc.train.score", "build_model")
    distill(tiny(), out=tmp_path / "first")
    # Teacher and student have an objective and a model each; the trained teacher is loaded from its folder.
    assert calls.counts == {"read_data": 1, "decode_all": 1, "make_objective": 2, "build_model": 3}
    calls.counts.clear()
    distill(tiny(), out=tmp_path / "second")
    assert calls.counts == {"read_data": 1, "decode_all": 1, "make_objective": 1, "build_model": 2}


def test_a_terms_layers_do_not_depend_on_whether_the_teacher_was_trained_first(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(distill={"method": "reviewkd"})
    trained = distill(recipe, out=tmp_path / "trained")
    reused = distill(recipe, out=tmp_path / "reused")
    assert same(weights(trained.path), weights(reused.path))
