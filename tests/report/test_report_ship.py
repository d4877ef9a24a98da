"""What to ship within a budget, in the page, in Markdown and in JSON."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from page_reader import Page
from report_artifacts import bench, bench_of, manifest
from report_devices import PI, devices_bench
from report_folder import copy_raw, read_json, write_full, write_json, write_manifest, write_minimal
from report_training import class_names

from mlkdc.bench.recommend import Budget
from mlkdc.cli import cli
from mlkdc.report import collect, write_report
from mlkdc.report.headline import cards


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_full(tmp_path)
    devices_bench().save(tmp_path)
    return tmp_path


def test_the_most_accurate_that_fits_is_recommended_for_each_device(folder):
    page = write_report(folder, Budget(30.0, 60.0))
    written = read_json(folder / "report.json")["to_ship"]
    assert (written["budget_ms"], written["least_map_percent"]) == (30.0, 60.0)
    # Of the rows of devices_bench: fp32 is the most accurate on both; on the Pi it needs two threads for 30 ms.
    local, pi = written["devices"]
    assert (local["device"], local["name"], local["threads"]) == ("local", "onnx-fp32", 2)
    assert (pi["device"], pi["name"], pi["threads"]) == (PI, "onnx-fp32", 2)
    text = Page(page.read_text(encoding="utf-8")).text
    markdown = page.with_suffix(".md").read_text(encoding="utf-8")
    for item in (local, pi):
        assert f"{item['device']}: ship {item['why']}." in text
        assert f"- {item['device']}: ship {item['why']}." in markdown
    assert "## What to ship" in markdown
    assert "Within 30 ms and mAP 60:" in text
    commands = {item["what"]: item["command"] for item in read_json(folder / "report.json")["commands"]}
    assert commands["makes this report again"] == f"mlkdc report {folder} --budget 30ms --min-map 60"


def test_a_failed_artifact_is_not_recommended_and_the_nearest_is_named(folder):
    write_report(folder, Budget(4.0))  # only int8 is that fast, and it failed its parity check
    local, _ = read_json(folder / "report.json")["to_ship"]["devices"]
    assert (local["name"], local["threads"]) == (None, None)
    assert re.match(r"none fits 4 ms; onnx-fp32 \(6\.\d+ ms with 2 threads, mAP 78\.12\) comes nearest", local["why"])
    assert f"local: {local['why']}." in Page((folder / "report.html").read_text(encoding="utf-8")).text


def test_what_is_gone_damaged_or_exported_again_is_not_recommended(folder):
    write_json(folder / "export" / "onnx-fp32" / "manifest.json", {"format": 1})
    shutil.rmtree(folder / "export" / "onnx-fp16")
    write_report(folder, Budget(1000.0))
    local, pi = read_json(folder / "report.json")["to_ship"]["devices"]
    for device in (local, pi):
        assert device["name"] is None
        assert "onnx-fp32 is not there any more, or cannot be read" in device["why"]
        assert "onnx-fp16 is not there any more, or cannot be read" in device["why"]
    assert "onnx-int8 failed its parity check" in local["why"]
    text = "\n".join(collect(folder).notes)
    assert "Timed, and no artifact of the run any more: onnx-fp16." in text

    again = manifest("onnx-fp32", class_names(20)).model_copy(update={"created": "2026-11-21T13:00:00+00:00"})
    write_manifest(folder, "onnx-fp32", again)
    rows = []
    for row in devices_bench().rows:
        rows.append(row.model_copy(update={"artifact_sha256": "1" * 64 if row.precision else None}))
    devices_bench().model_copy(update={"rows": tuple(rows)}).save(folder)
    found = collect(folder, Budget(1000.0))
    assert "onnx-fp32 was exported again since, measure it again" in found.to_ship.devices[0].why
    assert "onnx-fp32 was exported after it was timed: its latency on local, ssh://pi@kitchen is of" in "".join(
        found.notes
    )
    # Nor does its new mAP stand next to the earlier latency, of which the report makes no headline.
    assert {entry.map_percent for entry in found.latency if entry.name == "onnx-fp32"} == {None, 77.9}
    assert found.best.name == "torch eager"


def test_an_unverified_artifact_that_the_device_confirmed_is_shipped_and_the_headline(folder):
    unverified = manifest("onnx-fp32", class_names(20)).model_copy(update={"status": "unverified"})
    write_manifest(folder, "onnx-fp32", unverified)
    found = collect(folder, Budget(100.0))
    local, pi = found.to_ship.devices
    assert local.name == found.best.name == "onnx-fp16"  # here it was not asked
    assert pi.name == "onnx-fp32"
    only_pi = [row for row in devices_bench().rows if row.device == PI]
    devices_bench().model_copy(update={"rows": tuple(only_pi)}).save(folder)
    report = collect(folder)
    assert report.best.name == "onnx-fp32"
    assert next(card for card in cards(report) if card.title == "size").detail == "onnx-fp32"


def test_timings_of_an_earlier_version_can_be_asked_too(tmp_path):
    folder = copy_raw(tmp_path / "run", "format2")
    write_report(folder, Budget(1.0))
    [local] = read_json(folder / "report.json")["to_ship"]["devices"]
    checked = {}
    for path in folder.glob("export/*/manifest.json"):
        checked[path.parent.name] = read_json(path)["parity"]["comparison"]["figures"]["map_artifact_percent"]
    assert local["name"] == max(checked, key=checked.get)
    assert "its timing is of unknown quality, measure again before you rely on it" in local["why"]


def test_nothing_is_recommended_without_a_budget_or_a_bench(tmp_path):
    for folder, budget in ((write_full(tmp_path / "a"), None), (write_minimal(tmp_path / "b"), Budget(8.0))):
        page = write_report(folder, budget)
        assert read_json(folder / "report.json")["to_ship"] is None
        assert "What to ship" not in page.read_text(encoding="utf-8")
        assert "What to ship" not in page.with_suffix(".md").read_text(encoding="utf-8")


def test_the_command_takes_a_budget(tmp_path):
    folder = write_full(tmp_path)
    bench_of(bench().rows).save(folder)
    done = CliRunner().invoke(cli, ["report", str(folder), "--budget", "0.008s", "--min-map", "60"])
    assert done.exit_code == 0, done.output
    assert read_json(folder / "report.json")["to_ship"]["budget_ms"] == 8.0
    unmeasured = CliRunner().invoke(cli, ["report", str(write_minimal(tmp_path / "b")), "--budget", "8ms"])
    assert unmeasured.exit_code == 0, unmeasured.output
    assert "nothing was measured yet that could meet a budget: mlkdc bench" in unmeasured.output
    assert "nothing was measured" not in done.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--min-map", "60"], "--min-map goes with --budget; for example: --budget 8ms --min-map 60"),
        (["--budget", "soon"], "expected milliseconds such as 8ms, got 'soon'"),
        (["--budget", "8ms", "--min-map", "600"], "not in the range"),
    ],
)
def test_a_budget_that_is_none(tmp_path, options, says):
    folder = write_full(tmp_path)
    done = CliRunner().invoke(cli, ["report", str(folder), *options])
    assert done.exit_code != 0
    assert says in done.output + str(done.exception)
    assert not (folder / "report.html").exists()
