"""report.json, and folders that cannot be reported on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from report_artifacts import bench, bench_of, manifest, parity, quantization, spread
from report_folder import read_json, read_recipe, write_epochs, write_full, write_json, write_manifest, write_minimal
from report_training import class_names, history, results

from mlkdc.errors import UsageError
from mlkdc.records.manifest import RuntimeDetails
from mlkdc.records.parity import FineTuning
from mlkdc.records.report import Report
from mlkdc.report import collect, write_report


def report(folder: Path) -> dict:
    """Write the report and read its JSON, refusing what is not JSON."""
    write_report(folder)
    return json.loads((folder / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


def commands(folder: Path) -> dict[str, str]:
    return {item["what"]: item["command"] for item in report(folder)["commands"]}


def without_format(path: Path) -> dict:
    """What the file says, without what is about the file itself."""
    values = read_json(path)
    del values["format"]
    values.pop("checksum", None)
    return values


def test_json_holds_the_sources_unchanged(tmp_path):
    folder = write_full(tmp_path)
    written = report(folder)
    assert written["format"] == 3
    assert written["results"] == without_format(folder / "results.json")
    assert written["bench"] == without_format(folder / "bench.json")
    assert written["history"] == [entry.model_dump() for entry in history()]
    assert written["recipe"] == read_recipe(folder)
    assert written["recipe_yaml"] == (folder / "recipe.yaml").read_text(encoding="utf-8")
    assert sorted(written["artifacts"]) == ["onnx-fp16", "onnx-fp32", "onnx-int8"]
    for name, artifact in written["artifacts"].items():
        assert artifact == without_format(folder / "export" / name / "manifest.json")
    assert written["missing"] == {"history": None, "artifacts": None, "bench": None}
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith("report")) == [
        "report.html",
        "report.json",
        "report.md",
    ]


def test_json_is_read_back_to_an_equal_record(tmp_path):
    folder = write_full(tmp_path)
    collected = collect(folder)
    collected.save(folder)
    assert Report.load(folder) == collected


def test_json_of_a_bare_run(tmp_path):
    written = report(write_minimal(tmp_path))
    assert (written["bench"], written["artifacts"], written["latency"], written["best"]) == (None, {}, [], None)
    assert {part for part, text in written["missing"].items() if text} == {"bench", "artifacts"}


def test_nothing_heavy_is_imported_before_a_report_is_rendered():
    heavy = {"jinja2", "markupsafe", "numpy", "torch", "sklearn", "timm", "PIL"}
    code = f"import sys, mlkdc.report; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_commands_make_the_same_again(tmp_path):
    folder = write_full(tmp_path / "my run")
    source = manifest("onnx-fp32", class_names(20))
    changes = {"dynamic_batch": True, "input": source.input.model_copy(update={"dtype": "uint8"})}
    write_manifest(folder, "onnx-fp32", source.model_copy(update=changes))
    written = commands(folder)
    assert written["trained with"] == results().command
    assert written["timed with"] == bench().command
    again = f"mlkdc export '{folder}' --target onnx --precision fp32 --dynamic --uint8"
    assert written["exports onnx-fp32 again"] == again


@pytest.mark.parametrize(
    ("reduce_range", "option"), [(False, " --no-reduce-range"), (True, " --reduce-range"), (None, "")]
)
@pytest.mark.parametrize(("equalize", "last"), [(True, ""), (False, " --no-equalize")])  # its branches were merged
def test_commands_of_int8_say_how_it_was_made(tmp_path, reduce_range, option, equalize, last):
    folder = write_full(tmp_path)
    changes = {"quantization": quantization(equalize), "details": RuntimeDetails(reduce_range=reduce_range)}
    write_manifest(folder, "onnx-int8", manifest("onnx-int8", class_names(20)).model_copy(update=changes))
    again = f"mlkdc export {folder} --target onnx --precision int8{option} --max-drop 0.1 --max-class-drop 5{last}"
    assert commands(folder)["exports onnx-int8 again"] == again


def test_a_command_makes_a_fine_tuned_artifact_again_where_it_is(tmp_path):
    folder = write_full(tmp_path)
    tuned = FineTuning(epochs=2, map_percent=77.3, images=32, split="val")
    changes = {"quantization": quantization().model_copy(update={"fine_tuning": tuned})}
    write_manifest(folder, "onnx-int8-tuned", manifest("onnx-int8", class_names(20)).model_copy(update=changes))
    again = commands(folder)["exports onnx-int8-tuned again"]
    assert again.endswith(f" --qat-epochs 2 --out {folder}/export/onnx-int8-tuned")


def test_one_command_that_did_everything(tmp_path):
    folder = write_full(tmp_path)
    bench().model_copy(update={"command": results().command}).save(folder)
    written = commands(folder)
    assert written["trained, exported and timed with"] == results().command
    assert "timed with" not in written


def test_history_of_a_run_that_was_killed_and_resumed(tmp_path):
    folder = write_minimal(tmp_path)
    entries = history(5)
    again = entries[2].model_copy(update={"loss": 9.0})
    write_epochs(folder, [*entries[:3], again, entries[3]])
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"format": 2, "epoch": 5, "step": 9, "lr": 0.1, "loss": 1.0, "terms": {}, ')
        stream.write('"images_per_second": 60.0, "seconds": 52.0, "val_map_percent": NaN}\n{"epoch": 6, "lo')
    written = report(folder)["history"]
    assert [entry["epoch"] for entry in written] == [1, 2, 3, 4, 5]
    assert written[2]["loss"] == 9.0
    assert written[4]["val_map_percent"] is None


def test_a_broken_line_inside_the_history(tmp_path):
    folder = write_minimal(tmp_path)
    first, second = history(2)
    (folder / "metrics.jsonl").write_text(f"{first.line()}broken\n{second.line()}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"metrics\.jsonl, line 2"):
        write_report(folder)


def test_only_failed_artifacts(tmp_path):
    folder = write_full(tmp_path)
    for name in ("onnx-fp32", "onnx-fp16"):
        write_manifest(folder, name, manifest(name, class_names(20), 1.0, passed=False))
    assert report(folder)["best"]["name"] == "torch eager"
    assert "no artifact passed its parity check" in (folder / "report.html").read_text(encoding="utf-8")


def test_stable_timings_come_before_faster_unstable_ones(tmp_path):
    folder = write_full(tmp_path)
    rows = []
    for row in bench().rows:
        if (row.name, row.threads) == ("onnx-fp32", 2):
            row = row.model_copy(update={"timing": spread(row.timing)})
        rows.append(row)
    bench_of(rows).save(folder)
    best = report(folder)["best"]
    assert (best["name"], best["threads"]) == ("onnx-fp32", 1)


def test_an_artifact_that_was_not_run_is_never_the_best(tmp_path):
    folder = write_full(tmp_path)
    unverified = manifest("onnx-fp32", class_names(20)).model_copy(update={"status": "unverified"})
    write_manifest(folder, "onnx-fp32", unverified)
    assert report(folder)["best"]["name"] == "onnx-fp16"


def test_torch_has_no_map_where_the_checks_used_different_images(tmp_path):
    folder = write_full(tmp_path)
    assert {entry.map_percent for entry in collect(folder).latency if entry.name == "torch eager"} == {78.12}
    other = manifest("onnx-fp16", class_names(20)).model_copy(update={"parity": parity(images=100)})
    write_manifest(folder, "onnx-fp16", other)
    assert {entry.map_percent for entry in collect(folder).latency if entry.name == "torch eager"} == {None}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("results.json", None, "mlkdc distill --resume"),
        ("results.json", {"format": 3}, r"format 3.*reads format 2.*mlkdc distill --resume"),
        ("results.json", "not json", r"is not JSON.*mlkdc distill --resume"),
        ("results.json", {"format": 2, "name": "x"}, r"scored_on is missing.*mlkdc distill --resume"),
        ("results.json", [1], "expected a JSON object"),
        ("bench.json", {"format": 7}, r"format 7.*mlkdc bench"),
        ("recipe.yaml", None, "is not a run folder"),
    ],
)
def test_folders_that_cannot_be_reported_on(tmp_path, name, content, says):
    folder = write_full(tmp_path)
    if content is None:
        (folder / name).unlink()
    elif isinstance(content, str):
        (folder / name).write_text(content, encoding="utf-8")
    else:
        write_json(folder / name, content)
    with pytest.raises(UsageError, match=says):
        write_report(folder)
    assert not (folder / "report.html").exists()
