"""What to ship within a budget, in the page, in Markdown and in JSON."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from page_reader import Page
from report_artifacts import bench, bench_of
from report_devices import PI, devices_bench
from report_folder import copy_raw, read_json, write_full, write_minimal

from mlkdc.bench.recommend import Budget
from mlkdc.cli import cli
from mlkdc.report import write_report


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
