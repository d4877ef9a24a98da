"""The notes on what weakens a figure."""

import re
from pathlib import Path

import pytest
from report_artifacts import bench, bench_of, manifest
from report_folder import write_full, write_json, write_manifest
from report_training import class_names, results

from mlkdc.errors import UsageError
from mlkdc.records.manifest import RuntimeDetails
from mlkdc.records.parity import FineTuning
from mlkdc.records.results import Results
from mlkdc.report import collect, write_report


def notes(folder: Path) -> str:
    return "\n".join(collect(folder).notes)


def test_notes_on_what_weakens_a_figure(tmp_path):
    folder = write_full(tmp_path)
    text = notes(folder)
    assert "onnx-int8 failed its parity check" in text
    assert "Timings that differ between processes (verdict spread): onnx-fp16 (2 threads, local). Why: its tu" in text
    assert "onnx-fp32" not in text
    assert "openvino" not in text  # skipped, not unstable
    assert "optimistic" not in text
    assert "1 of 20 classes without a positive image in the test split" in text

    first = results().per_class[0]
    results().model_copy(update={"images": first.positives}).save(folder)
    assert re.search(rf"1 of 20 classes are a label of every image.*{re.escape(first.name)}", notes(folder))

    teacher = results().teacher
    assert teacher is not None
    leaky = teacher.model_copy(update={"trained_on": {"test": 12}})
    results().model_copy(update={"teacher": leaky}).save(folder)
    assert "The teacher in runs/teacher-0123 was trained on 12 test images of this data" in notes(folder)

    results().model_copy(update={"scored_on": "val", "thresholds_from": "val"}).save(folder)
    text = notes(folder)
    assert "same split (val): the tuned figures are optimistic" in text
    assert "no test split" in text
    assert "weights were chosen" not in text

    chosen = {"scored_on": "val", "thresholds_from": "val", "chosen_on": "val"}
    results().model_copy(update=chosen).save(folder)
    assert "weights were chosen on the images they are scored on (val)" in notes(folder)
    results().model_copy(update={"chosen_on": "val"}).save(folder)
    assert "weights were chosen" not in notes(folder)


def test_notes_on_artifacts_that_changed_since(tmp_path):
    folder = write_full(tmp_path)
    changes = {"created": "2026-11-21T16:00:00+01:00", "recipe_hash": "another"}
    write_manifest(folder, "onnx-fp32", manifest("onnx-fp32", class_names(20)).model_copy(update=changes))
    bench_of([row for row in bench().rows if row.name != "onnx-fp16"]).save(folder)
    text = notes(folder)
    assert "onnx-fp32 was exported after it was timed" in text
    assert "onnx-fp32 was exported from another training" in text
    assert "onnx-fp16 has not been timed yet" in text
    assert "full range" not in text


def test_an_artifact_that_changed_since_is_looked_for_on_every_device(tmp_path):
    folder = write_full(tmp_path)
    changes = {"created": "2026-11-21T16:00:00+01:00"}
    write_manifest(folder, "onnx-fp32", manifest("onnx-fp32", class_names(20)).model_copy(update=changes))
    timed = next(row for row in bench().rows if row.name == "onnx-fp32" and row.timing is not None)
    # Measured here; the last device could not run it.
    skipped = timed.model_copy(update={"device": "ssh://pi", "timing": None, "turns": (), "skipped": "no runtime"})
    figures = bench_of([timed, skipped])
    devices = {**figures.devices, "ssh://pi": figures.devices["local"].model_copy(update={"url": "ssh://pi"})}
    figures.model_copy(update={"devices": devices}).save(folder)
    assert "onnx-fp32 was exported after it was timed: its latency on local is of an earlier file." in notes(folder)


def test_another_tools_row_is_not_one_of_an_earlier_file(tmp_path):
    """Imported rows are not of the run's files, and bench.json is older than what is added to it."""
    folder = write_full(tmp_path)
    now = manifest("onnx-fp32", class_names(20)).model_copy(update={"created": "2026-11-21T16:00:00+01:00"})
    write_manifest(folder, "onnx-fp32", now)
    rows = []
    for row in bench().rows:
        if row.name == "onnx-fp32":
            rows.append(row.model_copy(update={"artifact_sha256": now.files_sha256}))
            rows.append(row.model_copy(update={"imported_from": "qai-hub", "device": "phone"}))
    bench_of(rows).save(folder)
    assert "exported after it was timed" not in notes(folder)
    bench_of([row for row in rows if row.imported_from]).save(folder)
    assert "onnx-fp32 has not been timed yet" in notes(folder)
    assert "any more" not in notes(folder)


def test_an_artifact_of_other_weights_than_were_scored(tmp_path):
    """Noted in the report; refused where it is used."""
    folder = write_full(tmp_path)
    Results.load(folder).model_copy(update={"weights_sha256": "a" * 64}).save(folder)
    for sha256, other in (("a" * 64, False), (None, False), ("b" * 64, True)):
        changed = manifest("onnx-fp32", class_names(20)).model_copy(update={"weights_sha256": sha256})
        changed = changed.model_copy(update={"recipe_hash": Results.load(folder).recipe_hash})
        write_manifest(folder, "onnx-fp32", changed)
        assert ("onnx-fp32 was exported from another training" in notes(folder)) is other
        if not other:
            changed.check_weights(folder / "export" / "onnx-fp32")
            continue
        with pytest.raises(UsageError, match=r"made from other weights than those that .*results\.json scored"):
            changed.check_weights(folder / "export" / "onnx-fp32")


def test_a_damaged_model_file_is_not_reported_as_sound(tmp_path):
    folder = write_full(tmp_path)
    name = next(iter(manifest("onnx-fp32", class_names(20)).files))
    assert "cannot be read" not in notes(folder)  # no model lies there at all
    (folder / "export" / "onnx-fp32" / name).write_bytes(b"half")
    assert re.search(rf"onnx-fp32 cannot be read and is not shown: .*{name} has 4 bytes, expected", notes(folder))


def test_notes_on_what_only_some_processors_can_run(tmp_path):
    folder = write_full(tmp_path)
    full_range = {"details": RuntimeDetails(reduce_range=False)}
    write_manifest(folder, "onnx-int8", manifest("onnx-int8", class_names(20)).model_copy(update=full_range))
    assert (
        "onnx-int8 has int8 weights in their full range: it is for Arm, and for x86 processors that have VNNI"
        in notes(folder)
    )


def test_notes_on_few_images_and_on_other_weights(tmp_path):
    folder = write_full(tmp_path)
    made = manifest("onnx-int8", class_names(20))
    assert "folder keeps" not in notes(folder)
    assert "fine-tuned for int8" not in notes(folder)
    tuned = FineTuning(epochs=2, without=("hint",), map_percent=77.3, images=32, split="val")
    comparison = made.parity.comparison.model_copy(update={"images": 32, "kept": True})
    changes = {
        "quantization": made.quantization.model_copy(update={"fine_tuning": tuned}),
        "parity": made.parity.model_copy(update={"comparison": comparison}),
    }
    write_manifest(folder, "onnx-int8", made.model_copy(update=changes))
    told = notes(folder)
    assert "onnx-int8 was compared on 32 images of the val split that the run folder keeps, as the data" in told
    assert "onnx-int8 was fine-tuned for int8 for 2 epochs without hint, so the weights are not those" in told


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"format": 1}, "has format 1, this version of mlkdc reads format 3; export the run again."),
        ({"format": 9}, "has format 9, this version of mlkdc reads format 3; export the run again."),
        ({"format": 2, "name": "x"}, "is missing"),
        ([], "expected a JSON object"),
    ],
)
def test_an_artifact_that_cannot_be_read_is_named_and_not_shown(tmp_path, content, says):
    folder = write_full(tmp_path)
    write_json(folder / "export" / "onnx-fp32" / "manifest.json", content)
    collected = collect(folder)
    unreadable = [note for note in collected.notes if note.startswith("onnx-fp32 cannot be read and is not shown: ")]
    assert len(unreadable) == 1
    assert says in unreadable[0]
    assert "export the run again" in unreadable[0]
    assert sorted(collected.artifacts) == ["onnx-fp16", "onnx-int8"]
    assert collected.best.name == "onnx-fp16"  # not of an artifact whose parity check cannot be read
    assert "exports onnx-fp32 again" not in {command.what for command in collected.commands}
    assert write_report(folder).is_file()


def test_no_artifact_can_be_read(tmp_path):
    folder = write_full(tmp_path)
    for path in folder.glob("export/*/manifest.json"):
        write_json(path, {"format": 1})
    assert collect(folder).missing.artifacts == f"none can be read: run `mlkdc export {folder} --target onnx` again"


def test_a_hostile_folder_name_stays_text(tmp_path):
    folder = write_full(tmp_path)
    hostile = "<i>x*y*"
    (folder / "export" / hostile).mkdir()
    write_json(folder / "export" / hostile / "manifest.json", {"format": 1})
    page = write_report(folder)
    assert "<i>x" not in page.read_text(encoding="utf-8")
    text = page.with_suffix(".md").read_text(encoding="utf-8")
    assert "<i>x" not in text
    assert r"&lt;i&gt;x\*y\* cannot be read" in text
