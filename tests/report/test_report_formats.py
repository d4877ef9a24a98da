"""Raw files of both formats, as they lie on disk: a renamed key is seen here."""

import json

import pytest
from report_folder import FILES, copy_raw, read_json

from mlkdc.report import write_report

PREPARED = {
    "orientation": "upright, by the EXIF tag",
    "color": "RGB",
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
    if preprocess := part.get("preprocess"):
        inside = {key: preprocess[key] for key in ("mean", "std")}
        part["preprocess"] = {**PREPARED, "size": preprocess["size"], "resize": preprocess["resize"]}
        part["inside"] = {"note": "for information: the model does this itself", **inside}
        part["output"]["activation"] = "sigmoid, inside the model"
        part |= {"decision": "probability >= threshold", "weights_sha256": None}
        part["parity"]["comparison"]["batches"] = []
        steps = (part["quantization"] or {"steps": []})["steps"]
        for compared in (part["parity"]["comparison"], *steps):
            compared["figures"]["worst_class_interval_points"] = None
    if "kept_epoch" in part:
        part.setdefault("weights_sha256", None)
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
    for part in ("results", "bench"):
        assert {"format": 2, **written[part]} == later_keys(read_json(source / f"{part}.json"))
    assert any("gradients" in line for line in lines(source / "metrics.jsonl"))
    later = {"gradients": {}, "val_map_ema_percent": None}
    complete = [{**later, **line} for line in lines(source / "metrics.jsonl")]
    assert [{"format": 2, **entry} for entry in written["history"]] == complete
    for name, artifact in written["artifacts"].items():
        assert {"format": 2, **artifact} == later_keys(read_json(source / "export" / name / "manifest.json"))
    assert set(written["artifacts"]) == {"onnx-fp32", "onnx-int8"}


@pytest.mark.parametrize("written", ["format2"], indirect=True)
def test_the_keys_of_the_report(written):
    parts = {"format", "mlkdc_version", "created", "run", "results", "recipe", "recipe_yaml", "history", "bench"}
    assert set(written) == parts | {"artifacts", "latency", "best", "missing", "notes", "commands"}
    int8 = read_json(FILES / "format2" / "export" / "onnx-int8" / "manifest.json")["parity"]["comparison"]
    row = read_json(FILES / "format2" / "bench.json")["rows"][2]
    accuracy = {"map_percent": int8["figures"]["map_artifact_percent"], "map_images": int8["images"], "parity": "ok"}
    assert written["latency"][2] == row | accuracy
    assert written["best"]["name"] == "onnx-fp32"
    assert written["commands"][-1]["what"] == "makes this report again"


@pytest.mark.parametrize("written", ["format1"], indirect=True)
def test_files_that_an_older_version_wrote(written):
    source = FILES / "format1"
    old, new = later_keys(read_json(source / "results.json")), written["results"]
    assert {key: new[key] for key in SAME_IN_BOTH} == {key: old[key] for key in SAME_IN_BOTH}
    assert new["training_seconds"] == old["seconds"]
    assert [score["ap_percent"] for score in new["per_class"]] == [score["AP"] for score in old["per_class"]]
    for old_row, row in zip(read_json(source / "bench.json")["rows"], written["bench"]["rows"], strict=True):
        assert (row["name"], row["threads"], row["skipped"]) == (
            old_row["name"],
            old_row["threads"],
            old_row["skipped"],
        )
        if old_row["skipped"]:
            assert row["timing"] is None
        else:
            assert row["timing"] == {key: old_row[key] for key in row["timing"]}
    for old_epoch, epoch in zip(lines(source / "metrics.jsonl"), written["history"], strict=True):
        assert epoch["val_map_percent"] == old_epoch["mAP"]
        assert epoch["images_per_second"] == old_epoch["images_per_s"]
        assert epoch["loss"] == old_epoch["loss"]


@pytest.mark.parametrize("written", ["format1"], indirect=True)
def test_an_artifact_of_an_older_version_is_named_in_the_notes(written):
    assert written["artifacts"] == {}
    [note] = [note for note in written["notes"] if note.startswith("onnx-fp32 ")]
    assert note.endswith("has format 1, this version of mlkdc reads format 2; export the run again.")
