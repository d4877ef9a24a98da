"""Raw files of all formats, as they lie on disk: a renamed key is seen here."""

import json
import shutil

import pytest
from report_folder import FILES, copy_raw, read_json

from mlkdc.report import write_report

PREPARED = {
    "orientation": "upright, by the EXIF tag",
    "color": "RGB",
    "color_profile": "ignored",
    "fit": "stretch",
    "antialiased": True,
    "range": "0..255",
    "order": "[1, 3, rows, columns]: all of red, then all of green, then all of blue; rows from the top",
    "normalization": "inside the model",
}
SAME_IN_BOTH = ("name", "method", "recipe_hash", "command", "seed", "started", "versions", "machine", "data", "teacher")
SAME_IN_BOTH += ("model", "scored_on", "thresholds_from", "thresholds", "metrics", "classes_without_positive")


def later_keys(part):
    """The same with the keys that were added since the files were written, and what their absence means."""
    if teacher := part.get("teacher"):
        teacher.setdefault("scored_on", None)
        teacher.setdefault("trained_on", {})
    if preprocess := part.get("preprocess"):
        inside = {key: preprocess[key] for key in ("mean", "std")}
        part["preprocess"] = {**PREPARED, "size": preprocess["size"], "resize": preprocess["resize"]}
        part["inside"] = {"note": "for information: the model does this itself", **inside}
        part["output"]["activation"] = "sigmoid, inside the model"
        part |= {"decision": "probability >= threshold", "weights_sha256": None}
        part["parity"]["comparison"] |= {"batches": [], "kept": False, "note": None}
        steps = []
        if quantization := part["quantization"]:
            steps = quantization["steps"]
            quantization |= {"chosen": None, "promise": None, "fine_tuning": None}
            quantization["calibration"]["kept"] = False
        for compared in (part["parity"]["comparison"], *steps):
            compared["figures"]["worst_class_interval_points"] = None
    if "kept_epoch" in part:
        part = {"weights_sha256": None, "images": None, "sharing_threshold": 0, **part}
    return part


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def written(tmp_path, request):
    folder = copy_raw(tmp_path / "run", request.param)
    write_report(folder)
    return read_json(folder / "report.json")


@pytest.mark.parametrize("written", ["format2"], indirect=True)
def test_every_file_of_this_format(written):
    source = FILES / "format2"
    assert {"format": 2, **written["results"]} == later_keys(read_json(source / "results.json"))
    assert any("gradients" in line for line in lines(source / "metrics.jsonl"))
    later = {"gradients": {}, "val_map_ema_percent": None}
    complete = [{**later, **line} for line in lines(source / "metrics.jsonl")]
    assert [{"format": 2, **entry} for entry in written["history"]] == complete
    for name, artifact in written["artifacts"].items():
        assert {"format": 2, **artifact} == later_keys(read_json(source / "export" / name / "manifest.json"))
    assert set(written["artifacts"]) == {"onnx-fp32", "onnx-int8"}


def test_a_bench_of_this_format(tmp_path):
    folder = copy_raw(tmp_path / "run", "format2")
    shutil.copy(FILES / "bench3.json", folder / "bench.json")
    write_report(folder)
    written = read_json(folder / "report.json")
    assert {"format": 3, **written["bench"]} == read_json(FILES / "bench3.json")
    assert [row["map_percent"] for row in written["latency"]][1] == 61.5  # on the device, not of the parity check
    assert [row["map_images"] for row in written["latency"]][1] == 12


@pytest.mark.parametrize("written", ["format2"], indirect=True)
def test_the_keys_of_the_report(written):
    parts = {"format", "mlkdc_version", "created", "run", "results", "recipe", "recipe_yaml", "history", "bench"}
    assert set(written) == parts | {"artifacts", "latency", "best", "to_ship", "missing", "notes", "commands"}
    int8 = read_json(FILES / "format2" / "export" / "onnx-int8" / "manifest.json")["parity"]["comparison"]
    row = written["bench"]["rows"][2]
    assert row["name"] == "onnx-int8"
    accuracy = {"map_percent": int8["figures"]["map_artifact_percent"], "map_images": int8["images"], "parity": "ok"}
    assert written["latency"][2] == {key: row[key] for key in row.keys() - {"turns", "sustained"}} | accuracy
    assert written["best"]["name"] == "onnx-fp32"
    assert written["commands"][-1]["what"] == "makes this report again"


@pytest.mark.parametrize("written", ["format1", "format2"], indirect=True)
def test_timings_that_an_older_version_wrote(written, request):
    source = read_json(FILES / request.node.callspec.params["written"] / "bench.json")
    bench = written["bench"]
    assert (bench["command"], bench["when"], bench["image_size"]) == tuple(
        source[key] for key in ("command", "when", "image_size")
    )
    local = bench["devices"]["local"]
    assert (local["machine"], local["versions"]) == (source["machine"], source["versions"])
    for old, row in zip(source["rows"], bench["rows"], strict=True):
        assert [row[key] for key in ("name", "threads", "skipped")] == [
            old[key] for key in ("name", "threads", "skipped")
        ]
        assert (row["device"], row["turns"]) == ("local", [])
        if old["skipped"]:
            assert row["timing"] is None
            continue
        figures = old.get("timing", old)
        kept = ("median_ms", "p90_ms", "min_ms", "passes")
        assert [row["timing"][key] for key in kept] == [figures[key] for key in kept]
        assert row["timing"]["runs"] == figures["runs"] * figures["passes"]
        assert row["timing"]["verdict"] == "unknown"
        assert row["speedup"]["value"] == old["speedup"]
    [note] = [note for note in written["notes"] if "verdict unknown" in note]
    assert "which did not see contention" in note


@pytest.mark.parametrize("written", ["format1"], indirect=True)
def test_files_that_an_older_version_wrote(written):
    source = FILES / "format1"
    old, new = later_keys(read_json(source / "results.json")), written["results"]
    assert {key: new[key] for key in SAME_IN_BOTH} == {key: old[key] for key in SAME_IN_BOTH}
    assert new["training_seconds"] == old["seconds"]
    assert [score["ap_percent"] for score in new["per_class"]] == [score["AP"] for score in old["per_class"]]
    for old_epoch, epoch in zip(lines(source / "metrics.jsonl"), written["history"], strict=True):
        assert epoch["val_map_percent"] == old_epoch["mAP"]
        assert epoch["images_per_second"] == old_epoch["images_per_s"]
        assert epoch["loss"] == old_epoch["loss"]


@pytest.mark.parametrize("written", ["format1"], indirect=True)
def test_an_artifact_of_an_older_version_is_named_in_the_notes(written):
    assert written["artifacts"] == {}
    [note] = [note for note in written["notes"] if note.startswith("onnx-fp32 ")]
    assert note.endswith("has format 1, this version of mlkdc reads format 3; export the run again.")
