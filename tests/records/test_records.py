"""Files are read back as they were written, old formats are read or refused by name, and a renamed field is found."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from old_formats import BENCH_1, BENCH_2, EPOCH_1, MACHINE, RESULTS_1
from pydantic import ValidationError
from samples import make_manifest

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.recipe import Recipe
from mlkdc.records.bench import BenchFile, RowTiming
from mlkdc.records.machine import Machine
from mlkdc.records.manifest import Manifest, is_artifact
from mlkdc.records.results import Epoch, Results, read_epochs
from mlkdc.records.run import Run, load_run, new_run_folder, newest_run

ROOT = Path(__file__).parents[2]


def test_results_of_format_1_are_read_and_written_as_format_2(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RESULTS_1))
    results = Results.load(tmp_path)
    assert (results.training_seconds, results.map_percent, results.per_class[0].ap_percent) == (12.5, 50.0, 50.0)
    results.save(tmp_path)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["format"] == 2
    assert "seconds" not in written
    assert Results.load(tmp_path) == results


def test_results_say_which_weights_they_are_of_where_that_was_recorded(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RESULTS_1))
    old = Results.load(tmp_path)
    assert (old.kept_epoch, old.kept) == (None, None)
    new = old.model_copy(update={"kept_epoch": 7})
    assert new.kept == "after epoch 7"
    new.model_copy(update={"kept_average": True, "chosen_on": "val"}).save(tmp_path)
    assert Results.load(tmp_path).kept == "after epoch 7, averaged (chosen on val)"


def test_epochs_of_both_formats_are_read(tmp_path: Path) -> None:
    new = Epoch(epoch=2, step=10, lr=0.1, loss=1.0, terms={}, images_per_second=8.0, seconds=1.0, val_map_percent=40.0)
    assert json.loads(new.line())["format"] == 2
    (tmp_path / "metrics.jsonl").write_text(json.dumps({**EPOCH_1, "mAP": 30.0}) + "\n" + new.line())
    first, second = read_epochs(tmp_path)
    assert (first.val_map_percent, first.images_per_second, second) == (30.0, 9.0, new)


def test_epochs_of_killed_and_resumed_runs(tmp_path: Path) -> None:
    lines = [json.dumps({**EPOCH_1, "epoch": epoch, "loss": loss}) for epoch, loss in ((1, 3), (2, 2), (2, 1))]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"epoch": 3, "st']))
    assert [(entry.epoch, entry.loss) for entry in read_epochs(tmp_path)] == [(1, 3), (2, 1)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(['{"epoch": 3, "st', *lines]))
    with pytest.raises(UsageError, match=r"metrics\.jsonl, line 1: not JSON; delete that line"):
        read_epochs(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("\n".join([lines[0], '{"epoch": 2}', lines[1]]))
    with pytest.raises(UsageError, match="line 2: step is missing"):
        read_epochs(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 3}, r"results\.json has format 3, this version of mlkdc reads format 2; delete it"),
        ({"machine": {**MACHINE, "cores": "many"}}, "machine.cores: input should be a valid integer.*got 'many'"),
        ({"accuracy": 1}, "unknown key accuracy"),
        ({"model": {}}, r"model\.params is missing; model\.params_backbone is missing; .*and 6 more"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    (tmp_path / "results.json").write_text(json.dumps({**RESULTS_1, **change}))
    with pytest.raises(UsageError, match=message):
        Results.load(tmp_path)


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[]", "expected a JSON object, got list")])
def test_what_is_no_record(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bench.json").write_text(text)
    with pytest.raises(UsageError, match=f"{message}.*; measure again with `mlkdc bench`"):
        BenchFile.load(tmp_path)
    with pytest.raises(UsageError, match=r"results\.json is missing"):
        Results.load(tmp_path)


def test_a_record_cannot_be_changed_and_nan_is_not_written(tmp_path: Path) -> None:
    machine = Machine(**MACHINE)
    with pytest.raises(ValidationError):
        machine.cores = 3  # type: ignore[misc]
    (tmp_path / "bench.json").write_text(json.dumps(BENCH_1))
    bench = BenchFile.load(tmp_path)
    timing = bench.rows[0].timing
    assert timing is not None
    broken = bench.rows[0].model_copy(update={"timing": timing.model_copy(update={"median_ms": float("nan")})})
    with pytest.raises(ValueError, match="JSON"):
        bench.model_copy(update={"rows": (broken,)}).save(tmp_path)
    assert BenchFile.load(tmp_path) == bench


def test_other_tools_manifests_are_no_artifacts(tmp_path: Path) -> None:
    assert not is_artifact(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    assert not is_artifact(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"x")
    make_manifest(tmp_path, ["model.onnx"]).save(tmp_path)
    assert is_artifact(tmp_path)
    assert Manifest.load(tmp_path).size_bytes == 1


def test_run_folders_are_found_and_never_overwritten(tmp_path: Path) -> None:
    for name in ("paper-x", "teacher-y"):
        run = Run(new_run_folder(None, name, tmp_path))
        run.start(Recipe(name=name), ("red", "green"), f"make {name}")
        run.start(Recipe(name=name), ("red", "green"), "another command")
        assert (run.command, run.classes, run.recipe.name) == (f"make {name}", ("red", "green"), name)
        with pytest.raises(UsageError, match="has not ended; resume it with `mlkdc distill --resume"):
            load_run(run.path)
        run.weights.write_bytes(b"")
        (run.path / "results.json").write_text(json.dumps(RESULTS_1))
    assert new_run_folder(None, "paper/x", tmp_path) == tmp_path / "paper-x-2"
    assert newest_run(tmp_path).path.name == "paper-x"  # a teacher is passed over
    with pytest.raises(UsageError, match="is not empty; resume what it holds"):
        new_run_folder(tmp_path / "paper-x", "z", tmp_path)
    (tmp_path / "a file").write_text("")
    with pytest.raises(MlkdcError, match=r"the run folder .*a file/below cannot be made .*--out"):
        new_run_folder(tmp_path / "a file" / "below", "z", tmp_path)
    with pytest.raises(UsageError, match="not a run folder"):
        load_run(tmp_path)
    with pytest.raises(UsageError, match="has no exported model that passed its check"):
        newest_run(tmp_path).newest_artifact(print)


RENAMES = [
    ("mlkdc/records/parity.py", "worst_class_drop_points", "worst_drop_points"),
    ("mlkdc/records/results.py", "training_seconds", "train_seconds"),
    ("mlkdc/records/bench.py", "median_ms", "middle_ms"),
    ("mlkdc/records/manifest.py", "dynamic_batch", "any_batch"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "old", "new"), RENAMES, ids=[old for _, old, _ in RENAMES])
def test_renaming_a_field_breaks_the_type_check(file: str, old: str, new: str, tmp_path: Path) -> None:
    """Nothing reads a record by string key: mypy finds every reader and writer of a field that is renamed."""
    pytest.importorskip("mypy")
    shutil.copytree(ROOT / "mlkdc", tmp_path / "mlkdc", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    record = tmp_path / file
    text = record.read_text()
    assert text.count(f"    {old}:") >= 1
    record.write_text(text.replace(old, new))
    command = [sys.executable, "-m", "mypy", "mlkdc", "--cache-dir", str(ROOT / ".mypy_cache")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr
    assert f'has no attribute "{old}"' in done.stdout


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(BENCH_1))
    bench = BenchFile.load(tmp_path)

    def full(self: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(MlkdcError, match="No space left on device"):
        bench.save(tmp_path)
    monkeypatch.undo()
    assert BenchFile.load(tmp_path) == bench


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bench.json", json.dumps({**BENCH_1, "rows": [5]}), "rows.0: input should be a valid dictionary.*got 5"),
        ("bench.json", json.dumps({**BENCH_1, "when": "yesterday"}), "when: invalid isoformat string"),
        ("bench.json", json.dumps({**BENCH_2, "rows": 5}), "rows.0: input should be a valid dictionary.*got 5"),
        ("bench.json", json.dumps({**BENCH_2, "machine": 5}), "devices.local.machine: input should be a valid dict"),
        ("bench.json", json.dumps({**BENCH_2, "speed": 5}), "unknown key speed"),
        ("bench.json", json.dumps({**BENCH_2, "rows": [{"name": "x", "threads": 1, "timing": {}}]}), "median_ms is"),
        ("bench.json", json.dumps({**BENCH_2, "format": 9}), "has format 9, this version of mlkdc reads format 3"),
        (
            "results.json",
            json.dumps({**RESULTS_1, "per_class": [5]}),
            "per_class.0: input should be a valid dictionary",
        ),
        (
            "metrics.jsonl",
            json.dumps({**EPOCH_1, "format": 9}) + "\n{}\n",
            "line 1: format 9, this version of mlkdc reads",
        ),
        ("recipe.yaml", "{{{", r"recipe\.yaml is not YAML"),
        ("recipe.yaml", "[1]", "expected a mapping of keys to values, got list"),
    ],
)
def test_a_damaged_run_folder_is_answered_with_one_sentence(tmp_path: Path, name: str, text: str, message: str) -> None:
    from mlkdc.recipe import Recipe
    from mlkdc.report import write_report

    Run(tmp_path).start(Recipe(), ("red",), "mlkdc distill")
    (tmp_path / "results.json").write_text(json.dumps(RESULTS_1))
    (tmp_path / "bench.json").write_text(json.dumps(BENCH_1))
    write_report(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        write_report(tmp_path)


def test_bytes_that_are_no_text_and_missing_parts_are_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\xfe\n" + json.dumps(EPOCH_1).encode())
    with pytest.raises(UsageError, match="line 1: not JSON"):
        read_epochs(tmp_path)
    with pytest.raises(UsageError, match=r"classes\.txt cannot be read .*copy the complete run folder"):
        _ = Run(tmp_path).classes
    timing = {"median_ms": 0.0, "p90_ms": 1.0, "min_ms": 1.0, "runs": 2, "passes": 1, "verdict": "stable"}
    with pytest.raises(ValidationError, match="greater than"):
        RowTiming.model_validate(timing)


def test_numbers_of_a_list_share_a_line_and_nothing_else_changes(tmp_path):
    from mlkdc.resources import write_json

    value = {
        "samples": [1, 2.5, -3e-07, 1e20],
        "text": ["a\n[1,\n 2]"],
        "mixed": [1, None],
        "empty": [],
        "deep": [[1], [2]],
    }
    path = tmp_path / "value.json"
    write_json(path, value)
    assert json.loads(path.read_text()) == value
    assert '"samples": [1, 2.5, -3e-07, 1e+20],' in path.read_text()


def test_what_is_no_run_folder_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.start(Recipe(name="x"), ("red",), "")
    artifact, bare = (tmp_path / "run/export" / name for name in ("onnx-fp32", "onnx-int8"))
    for folder in (artifact, bare):
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"x")
    make_manifest(artifact, ["model.onnx"]).save(artifact)
    expected = {
        tmp_path / "nowhere": "there is no such folder",
        tmp_path: r"no recipe\.yaml in it\) and no artifact \(no manifest\.json\)",
        artifact: "but an exported artifact; give the run that it was exported from",
        bare: rf"no artifact any more, as its manifest\.json is missing; .* export {run.path} again",
    }
    for path, words in expected.items():
        with pytest.raises(UsageError, match=f"{path} is not a run folder.*{words}"):
            load_run(path)


def test_an_artifact_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    run, heard = Run(tmp_path), list[str]()
    for name in ("onnx-fp32", "onnx-int8"):
        folder = tmp_path / "export" / name
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"x")
        make_manifest(folder, ["model.onnx"]).save(folder)
    (tmp_path / "export/onnx-fp32/manifest.json").write_text('{"format": 3, "na', encoding="utf-8")
    assert run.newest_artifact(heard.append).name == "onnx-int8"
    (line,) = heard
    assert line.startswith(f"passed over: {tmp_path / 'export/onnx-fp32/manifest.json'}")
    (tmp_path / "export/onnx-int8/manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="has no exported model that passed its check"):
        run.newest_artifact(heard.append)
