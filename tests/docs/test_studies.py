"""The scripts of benchmarks/ on a tiny run: what they measure is what their records describe."""

import json
import shlex
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlkdc.losses import make_objective
from mlkdc.recipe import load_recipe
from mlkdc.records.run import Run

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def settings_of(command: list[str]) -> tuple[str, list[str]]:
    """The recipe and the settings of `mlkdc distill`."""
    recipe = command[command.index("--recipe") + 1]
    return recipe, [command[place + 1] for place, word in enumerate(command) if word == "--set"]


def stored_commands(value: Any) -> list[str]:
    """All commands that a study's JSON holds, at whatever depth."""
    if isinstance(value, str):
        return [value] if value.startswith("mlkdc distill") else []
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return [command for part in parts for command in stored_commands(part)]


@pytest.mark.parametrize(
    "name", ["quickstart", "digits", "students", "targets", "targets-avx2", "ladder", "ladder_versions"]
)
def test_commands_of_a_study_can_be_run_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    commands = stored_commands(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))
    assert commands
    for command in dict.fromkeys(commands):
        make_objective(load_recipe(*settings_of(shlex.split(command))).distill)


@pytest.mark.parametrize("study", ["quickstart", "digits"])
def test_a_study_finds_its_rows_again(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    methods, records = import_module("methods"), import_module("study_records")
    planned = list(methods.STUDIES[study]())
    keys = [row.key for row in planned]
    assert len(set(keys)) == len(keys) == len({row.folder for row in planned})
    stored = {row.key for row in records.MethodsStudy.load_from(RESULTS / f"{study}.json").rows}
    assert set(keys) <= stored


@pytest.mark.converter
def test_a_training_becomes_a_row(finished_run: Path, tmp_path: Path) -> None:
    methods, study = import_module("methods"), import_module("study")
    run, path = Run(finished_run), tmp_path / "results" / "tiny.json"
    planned = methods.Row("mobilenetv2", "l2d", 0, ["mlkdc", "distill"])
    row = methods.training(planned, run, "mlkdc distill")
    kind = import_module("study_records").MethodsStudy
    study.add(path, row, kind)
    study.add(path, row.model_copy(update={"seed": 1}), kind)
    rows = study.stored(path, kind).rows
    assert rows == (row, row.model_copy(update={"seed": 1}))
    assert rows[0].map_percent == run.results.map_percent
    assert rows[0].terms == {"bce": 1, "mld": 10, "cd": 1, "id": 1}
    assert len(rows[0].val_map_percent) == run.recipe.train.epochs
    # No path of this machine goes into the study.
    assert str(finished_run.parent) not in path.read_text(encoding="utf-8")


@pytest.mark.converter
def test_a_run_becomes_a_timed_model(finished_run: Path) -> None:
    model = import_module("latency").timed_model(finished_run)
    assert model.run == "photos"
    assert model.parity.passed
    assert model.merge.conv_bn > 0


@pytest.mark.converter
def test_a_run_becomes_an_entry_of_targets(finished_run: Path) -> None:
    targets = import_module("targets")
    run = Run(finished_run)
    assert targets.export(run, ["onnx"], ["fp32"]) == {}  # it is there
    missing = {"ncnn-fp32": f"{finished_run.resolve()}/export/ncnn-fp32 is odd"}
    assert run.bench is not None
    entry = targets.entry(run, missing, run.bench, {"--recipe tiny": "RECIPE"})
    assert entry.missing == {"ncnn-fp32": "ncnn-fp32 is odd"}
    assert entry.commands == ("mlkdc distill RECIPE",)
    assert list(entry.artifacts) == ["onnx-fp32"]
    assert entry.artifacts["onnx-fp32"].status == "ok"
    timed = [row for row in entry.bench.rows if row.turns]
    assert {row.name for row in timed} == {"torch eager", "onnx-fp32"}
    assert not any(turn.samples_us for row in timed for turn in row.turns)


@pytest.mark.converter
@pytest.mark.slow
@pytest.mark.parametrize("step", ["baseline", "small head", "merged"])
def test_steps_before_mlkdc_can_be_timed(finished_run: Path, tmp_path: Path, step: str) -> None:
    from mlkdc.bench import Plan, artifact_rows, bench

    folder = import_module("baselines").write(Run(finished_run), step, tmp_path / step)
    figures = bench(artifact_rows([folder]), Plan(passes=1, seconds=0.2))
    assert figures.rows[0].timing is not None, figures.rows[0].skipped


@pytest.mark.converter
@pytest.mark.slow
def test_a_way_of_making_int8_becomes_a_row(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    int8 = import_module("int8")
    monkeypatch.setattr(int8, "TARGETS", ("onnx",))
    row = next(int8.measure(Run(finished_run)))
    assert (row.target, row.weights, row.ranges) == ("onnx", "not merged", "one scale per layer")
    assert row.figures is not None
    drop = row.map_torch_percent - row.figures.map_artifact_percent
    assert row.figures.map_drop_points == pytest.approx(drop, abs=1e-9)


@pytest.mark.converter
@pytest.mark.slow
def test_fine_tuning_for_int8_becomes_a_row_next_to_what_it_is_compared_with(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlkdc.exporting.known import reference_of

    qat = import_module("qat")
    monkeypatch.setattr(qat, "EPOCHS", (1,))
    run = Run(finished_run)
    rows = list(qat.measure(run, "onnx", reference_of(run, print)))
    assert [row.weights for row in rows] == ["as scored", "as scored", "1 epoch more", "1 epoch more"]
    plain, corrects = "smallest to largest", "smallest to largest, biases corrected"
    assert [row.ranges for row in rows] == [plain, corrects, plain, corrects]
    scored, corrected, tuned, _ = (row.figures for row in rows)
    assert scored is not None
    assert corrected is not None
    assert tuned is not None
    assert tuned.map_artifact_percent not in {scored.map_artifact_percent, corrected.map_artifact_percent}


def test_the_command_of_a_training_names_no_path_of_this_machine() -> None:
    options = SimpleNamespace(data="/photos", weights="/big files")
    command = "mlkdc distill --recipe r --data /photos --set 'student.weights=/big files/m.safetensors' --out runs/a"
    placed = import_module("study").placed(command, options)
    assert placed == "mlkdc distill --recipe r --data PHOTOS --set 'student.weights=WEIGHTS/m.safetensors' --out RUN"


@pytest.mark.converter
@pytest.mark.slow
def test_a_ladder_is_timed_by_itself(finished_run: Path, tmp_path: Path) -> None:
    """In a process of its own, as it times functions of mlkdc that others take by name."""
    file = tmp_path / "seconds"
    command = [sys.executable, str(RESULTS.parent / "ladder_timed.py"), str(file), "export", str(finished_run)]
    command += ["--target", "onnx", "--precision", "int8", "--out", str(tmp_path / "artifact")]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    assert "int8, per channel" in done.stderr, done.stderr
    ladder = float(file.read_text(encoding="utf-8"))
    # The start of Python alone is not in it.
    assert 0.5 < ladder < took - 1
