"""Did the teacher help: the vanilla run beside a run, of the same student, data and budget, and no other."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mlkdc.cli import cli
from mlkdc.recipe import Recipe
from mlkdc.train import Run, distill
from mlkdc.train.compare import compare, verdict

Tiny = Callable[..., Recipe]


def finished(folder: Path, recipe: Recipe, score: float) -> Run:
    """A run folder as training leaves it, without the training."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text(recipe.to_yaml())
    teacher = {"model": "x"} if recipe.distill.method in ("l2d", "mld") else None
    results: dict[str, Any] = {"metrics": {"mAP": score}, "teacher": teacher, "method": recipe.distill.method}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "model.safetensors").write_text("")
    return Run(folder)


def test_the_gain_over_a_plain_run_of_the_same_seed(tiny: Tiny, tmp_path: Path) -> None:
    taught = finished(tmp_path / "taught", tiny(seed=1), 61.5)
    assert compare(taught) is None
    said = verdict(taught)
    assert said
    assert "did the teacher help? no vanilla run" in said
    assert f"--recipe {taught.path}/recipe.yaml --set distill.method=vanilla --out {taught.path}-vanilla" in said
    plain = {"distill": {"method": "vanilla"}, "teacher": None}
    finished(tmp_path / "a", tiny(seed=0, **plain), 10.0)
    other_seed = compare(taught)
    assert other_seed
    assert not other_seed.same_seed
    assert "ANOTHER seed" in str(verdict(taught))
    finished(tmp_path / "b", tiny(seed=1, **plain), 60.0)
    found = compare(taught)
    assert found
    assert found.baseline.path.name == "b"
    assert found.same_seed
    assert abs(found.gain - 1.5) < 1e-9
    assert str(verdict(taught)).startswith("did the teacher help? yes: 1.50 mAP more than b (the same seed")
    worse = finished(tmp_path / "worse", tiny(seed=1, distill={"method": "mskd"}, teacher=None), 58.75)
    assert str(verdict(worse)).startswith("did the method help? no: 1.25 mAP less than b")
    assert verdict(Run(tmp_path / "b")) is None


def test_another_student_data_or_budget_is_no_baseline(tiny: Tiny, tmp_path: Path) -> None:
    taught = finished(tmp_path / "taught", tiny(), 61.5)
    plain = {"distill": {"method": "vanilla"}, "teacher": None}
    changes: list[dict[str, Any]] = [
        {"train": {**tiny().train.model_dump(), "epochs": 3}},
        {"student": {**tiny().student.model_dump(), "width": 0.5}},
        {"data": {**tiny().data.model_dump(), "image_size": 48}},
        {"distill": {"method": "vanilla", "terms": {"mld": 1}}},
    ]
    for number, change in enumerate(changes):
        finished(tmp_path / str(number), tiny(**{**plain, **change}), 10.0)
    unfinished = finished(tmp_path / "unfinished", tiny(**plain), 10.0)
    (unfinished.path / "model.safetensors").unlink()
    assert compare(taught) is None


def test_with_sgd_another_scale_of_the_loss_is_no_baseline(tiny: Tiny, tmp_path: Path) -> None:
    for optimizer, matches in (("sgd", False), ("adamw", True)):
        folder = tmp_path / optimizer
        folder.mkdir()
        train = {**tiny().train.model_dump(), "optimizer": optimizer}
        averaged = {"method": "mskd", "form": "paper"}
        taught = finished(folder / "taught", tiny(train=train, distill=averaged, teacher=None), 61.5)
        finished(folder / "summed", tiny(train=train, distill={"method": "vanilla"}, teacher=None), 10.0)
        assert (compare(taught) is not None) == matches
        if not matches:
            assert "--set distill.form=paper" in str(verdict(taught))
        same = {"method": "vanilla", "form": "paper"}
        finished(folder / "averaged", tiny(train=train, distill=same, teacher=None), 60.0)
        assert compare(taught)


def test_the_command_it_names_makes_the_baseline(tiny: Tiny, tmp_path: Path) -> None:
    run = distill(tiny(), out=tmp_path / "taught")
    words = shlex.split(str(verdict(run)).rpartition("make one: ")[2])
    done = CliRunner().invoke(cli, words[1:])
    assert done.exit_code == 0, done.output
    found = compare(run)
    assert found
    assert found.baseline.path.name == "taught-vanilla"
    assert found.same_seed
    assert verdict(found.baseline) is None
