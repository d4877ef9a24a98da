"""Did the teacher help: a run is compared with vanilla runs of the same student, data and budget, and no others."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlkdc.cli import cli
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.records.images import ImageList, ListedImage
from mlkdc.records.machine import Machine
from mlkdc.records.results import DataFacts, ModelFacts, Results, TeacherFacts
from mlkdc.records.run import Run
from mlkdc.report.collect import collect
from mlkdc.report.teacher import weak_teacher, weakness
from mlkdc.train import distill
from mlkdc.train.compare import compare, verdict, weak_teacher_before

pytestmark = pytest.mark.slow

Tiny = Callable[..., Recipe]
SIZE = {"params": 2, "params_backbone": 1, "params_head": 1, "macs": 2, "macs_backbone": 1, "macs_head": 1}


def teacher_facts(map_percent: float | None, scored_on: str | None) -> TeacherFacts:
    metrics = None
    if map_percent is not None:
        metrics = {"mAP": map_percent}
    return TeacherFacts(model="x", image_size=48, run="teacher", metrics=metrics, scored_on=scored_on)


def finished(folder: Path, recipe: Recipe, map_percent: float, teacher: TeacherFacts | None = None) -> Run:
    """A run folder as training leaves it, without the training."""
    run = Run(folder)
    run.start(recipe, ("red",), "mlkdc distill")
    if teacher is None and recipe.distill.method in ("l2d", "mld"):
        teacher = teacher_facts(None, None)
    results = Results(
        scored_on="test",
        thresholds_from="val",
        thresholds=(0.5,),
        metrics={"mAP": map_percent},
        classes_without_positive=0,
        per_class=(),
        name=recipe.name,
        method=recipe.distill.method,
        recipe_hash=recipe.hash(),
        command="mlkdc distill",
        seed=recipe.seed,
        started="2026-01-01T00:00:00+00:00",
        training_seconds=1.0,
        versions={},
        machine=Machine(cpu="x", cores=1, system="x"),
        data=DataFacts(name="x", path="x", layout="csv", images={}, classes=1, split_from="official"),
        teacher=teacher,
        model=ModelFacts(model="x", head="compact", image_size=32, **SIZE),
    )
    results.save(folder)
    run.weights.write_text("")
    return run


def test_the_gain_over_a_vanilla_run_of_the_same_seed(tiny: Tiny, tmp_path: Path) -> None:
    taught = finished(tmp_path / "taught", tiny(seed=1), 61.5)
    assert compare(taught) is None
    said = verdict(taught)
    assert said
    assert "did the teacher help? no vanilla run" in said
    assert f"--recipe {taught.path}/recipe.yaml --set distill.method=vanilla --out {taught.path}-vanilla" in said
    vanilla = {"distill": {"method": "vanilla"}, "teacher": None}
    finished(tmp_path / "a", tiny(seed=0, **vanilla), 10.0)
    other_seed = compare(taught)
    assert other_seed
    assert not other_seed.same_seed
    assert "ANOTHER seed" in str(verdict(taught))
    finished(tmp_path / "b", tiny(seed=1, **vanilla), 60.0)
    found = compare(taught)
    assert found
    assert found.baseline.path.name == "b"
    assert found.same_seed
    assert abs(found.gain_points - 1.5) < 1e-9
    assert str(verdict(taught)).startswith("did the teacher help? yes: 1.50 mAP more than b (the same seed")
    worse = finished(tmp_path / "worse", tiny(seed=1, distill={"method": "mskd"}, teacher=None), 58.75)
    assert str(verdict(worse)).startswith("did the method help? no: 1.25 mAP less than b")
    assert verdict(Run(tmp_path / "b")) is None


def test_another_student_data_or_budget_is_no_baseline(tiny: Tiny, tmp_path: Path) -> None:
    taught = finished(tmp_path / "taught", tiny(), 61.5)
    vanilla = {"distill": {"method": "vanilla"}, "teacher": None}
    changes: list[dict[str, Any]] = [
        {"train": {**tiny().train.model_dump(), "epochs": 3}},
        {"student": {**tiny().student.model_dump(), "width": 0.5}},
        {"data": {**tiny().data.model_dump(), "image_size": 48}},
        {"distill": {"method": "vanilla", "terms": {"mld": 1}}},
    ]
    for number, change in enumerate(changes):
        finished(tmp_path / str(number), tiny(**{**vanilla, **change}), 10.0)
    unfinished = finished(tmp_path / "unfinished", tiny(**vanilla), 10.0)
    (unfinished.path / "model.safetensors").unlink()
    assert compare(taught) is None


def test_a_baseline_on_other_images_of_the_same_path_is_none(tiny: Tiny, tmp_path: Path) -> None:
    taught = finished(tmp_path / "taught", tiny(), 61.5)
    vanilla = finished(tmp_path / "vanilla", tiny(distill={"method": "vanilla"}, teacher=None), 10.0)
    images = [ListedImage(name=f"{at}.png", split="train", labels=(0,), size_bytes=1) for at in range(3)]
    ImageList(folder="photos", split_from="official", images=tuple(images)).save(taught.path)
    # A run of an earlier version has no list.
    assert compare(taught)
    ImageList(folder="moved", split_from="official", images=tuple(reversed(images))).save(vanilla.path)
    assert compare(taught)
    images[0] = images[0].model_copy(update={"split": "test"})
    ImageList(folder="photos", split_from="official", images=tuple(images)).save(vanilla.path)
    assert compare(taught) is None


def test_a_run_with_damaged_results_is_passed_over(tiny: Tiny, tmp_path: Path) -> None:
    taught = finished(tmp_path / "taught", tiny(), 61.5)
    vanilla = tiny(distill={"method": "vanilla"}, teacher=None)
    damaged = finished(tmp_path / "a", vanilla, 10.0)
    (damaged.path / Results.FILE).write_text("{")
    assert compare(taught) is None
    finished(tmp_path / "b", vanilla, 60.0)
    found = compare(taught)
    assert found
    assert found.baseline.path.name == "b"


def test_more_steps_than_the_baselines_are_said(tiny: Tiny, tmp_path: Path) -> None:
    """DLB repeats half of each batch: 30 images in batches of 8 are 3 steps without it and 7 with it."""
    for method in ("vanilla", "dlb", "tf-kd"):
        distill(tiny(distill={"method": method}, teacher=None), out=tmp_path / method)
    said = str(verdict(Run(tmp_path / "dlb")))
    assert "mAP" in said
    assert "than vanilla in 2.3 times as many steps (the same seed" in said
    assert "steps" not in str(verdict(Run(tmp_path / "tf-kd")))
    (tmp_path / "vanilla" / "metrics.jsonl").write_text("{\n{\n")
    assert "than vanilla (the same seed" in str(verdict(Run(tmp_path / "dlb")))


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
        # The printed loss is a sum, as vanilla's is without a form.
        printed = finished(folder / "printed", tiny(train=train, distill={"method": "mskd"}, teacher=None), 61.5)
        baseline = compare(printed)
        assert baseline
        if not matches:
            assert baseline.baseline.path.name == "summed"


def test_a_baseline_has_the_same_loss_of_the_labels(tiny: Tiny, tmp_path: Path) -> None:
    asl = {"base": "asl", "options": {"asl": {"clip": 0.1}}}
    taught = finished(tmp_path / "taught", tiny(distill={"method": "mld", **asl}), 61.5)
    vanilla = [{}, {"base": "asl"}, {"base": "focal"}, {**asl, "terms": {"mld": 1}}, {**asl, "balance": {"mld": 0.1}}]
    for number, change in enumerate(vanilla):
        finished(tmp_path / str(number), tiny(distill={"method": "vanilla", **change}), 10.0)
    assert compare(taught) is None
    assert "--set distill.method=vanilla --set distill.options.asl.clip=0.1" in str(verdict(taught))
    same = finished(tmp_path / "same", tiny(distill={"method": "vanilla", **asl}, teacher=None), 60.0)
    assert verdict(same) is None
    found = compare(taught)
    assert found
    assert found.baseline.path.name == "same"


@pytest.mark.parametrize(
    "loss",
    [
        {"method": "mld", "base": "asl", "options": {"asl": {"clip": 0.1}}, "balance": {"mld": 0.3}},
        {"method": "vanilla", "terms": {"mulsupcon": 0.1, "mld": 0.0}, "balance": {"mse": 0.3}},
    ],
)
def test_the_command_it_names_makes_the_baseline(loss: dict[str, Any], tiny: Tiny, tmp_path: Path) -> None:
    run = distill(tiny(distill=loss), out=tmp_path / "taught")
    words = shlex.split(str(verdict(run)).rpartition("make one: ")[2])
    done = CliRunner().invoke(cli, words[1:])
    assert done.exit_code == 0, done.output
    found = compare(run)
    assert found
    assert found.baseline.path.name == "taught-vanilla"
    assert found.same_seed
    assert verdict(found.baseline) is None


@pytest.mark.parametrize(
    ("map_percent", "scored_on", "weak"),
    [(61.4, "test", True), (61.6, "test", False), (50.0, "test", True), (50.0, "val", False), (None, None, False)],
)
def test_a_teacher_that_is_worse_than_its_student_is_named_after_training_and_in_the_report(
    map_percent: float | None, scored_on: str | None, weak: bool, tiny: Tiny, tmp_path: Path
) -> None:
    """Worse than the student's 61.5, on the images of the same split: one that is hardly better taught well."""
    run = finished(tmp_path / "taught", tiny(), 61.5, teacher_facts(map_percent, scored_on))
    said, notes = weak_teacher(run.results), "\n".join(collect(run.path).notes)
    assert (said is not None) == weak
    assert ("is worse than the student" in notes) == weak
    if said:
        assert f"mAP {map_percent:.2f} against 61.50 on the test images" in said
        assert "teacher.image_size" in said
        assert said[1:] in notes


def test_a_weak_teacher_is_named_before_it_teaches(tiny: Tiny, tmp_path: Path) -> None:
    run = Run(tmp_path / "taught")
    assert "is not known: teacher has no figures" in str(weak_teacher_before(run, tiny(), teacher_facts(None, None)))
    assert "is not known" in str(weak_teacher_before(run, tiny(), teacher_facts(90.0, None)))
    assert weak_teacher_before(run, tiny(), teacher_facts(10.0, "test")) is None  # nothing to compare it with
    finished(tmp_path / "alone", tiny(distill={"method": "vanilla"}, teacher=None), 60.0)
    said = weak_teacher_before(run, tiny(), teacher_facts(63.9, "test"))
    assert said
    assert "mAP 63.90 against 60.00 of the student alone (alone) on the test images" in said
    assert weak_teacher_before(run, tiny(), teacher_facts(64.1, "test")) is None
    assert weak_teacher_before(run, tiny(), teacher_facts(63.9, "val")) is None


def test_near_the_top_half_of_what_is_missed_is_enough() -> None:
    assert weakness(98.6, 97.0, "of the student") is None
    said = weakness(98.4, 97.0, "of the student")
    assert said
    assert "at least 1.5 points more are needed" in said


def test_distill_warns_of_a_weak_teacher(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    class Heard(Progress):
        def say(self, text: str) -> None:
            lines.append(text)

    distill(tiny(distill={"method": "vanilla"}, teacher=None), out=tmp_path / "alone", progress=Heard())
    assert not any("clearly better" in line for line in lines)
    monkeypatch.setattr(TeacherFacts, "map_percent_on", lambda *_: 1.0)
    run = distill(tiny(), out=tmp_path / "taught", progress=Heard())
    teacher = run.results.teacher
    assert teacher
    assert teacher.scored_on == "test"
    (before,) = (line for line in lines if "clearly better" in line)
    assert "of the student alone (alone)" in before
    assert "mAP 1.00 against" in before
    (after,) = (line for line in lines if "worse than the student that it taught" in line)
    assert after in (run.path / "log.txt").read_text()
