"""Rows of another tool: a profile as qai-hub's ``ProfileJob.download_profile()`` returns it."""

import json
import random
from pathlib import Path
from statistics import median

import pytest
from click.testing import CliRunner
from samples import make_manifest

from mlkdc.bench.imported import with_import
from mlkdc.bench.recommend import Budget, recommend
from mlkdc.cli import cli
from mlkdc.errors import UsageError
from mlkdc.records.bench import BenchFile, DeviceInfo, LatencyRow, Protocol, RowTiming, Speedup
from mlkdc.records.machine import Machine

PHONE = "Samsung Galaxy S24 (Family)"


def profile(**changes: object) -> dict:
    """Microseconds and bytes; ``estimated_inference_time`` is the fastest of the calls."""
    draw = random.Random(0)
    times = [1100 + round(draw.expovariate(0.01)) for _ in range(99)]
    return {
        "execution_summary": {
            "estimated_inference_time": min(times),
            "estimated_inference_peak_memory": 24_117_248,
            "first_load_time": 311_671,
            "first_load_peak_memory": 98_230_272,
            "warm_load_time": 98_597,
            "warm_load_peak_memory": 14_573_568,
            "compile_time": 0,
            "compile_peak_memory": 0,
            "compile_memory_increase_range": None,
            "inference_memory_increase_range": [0, 2_658_496],
            "inference_memory_peak_range": [2_654_208, 39_406_752],
            "all_inference_times": times,
            **changes,
        },
        "execution_detail": [
            {"name": f"conv{number}", "type": "Conv2d", "compute_unit": unit, "execution_time": 9}
            for number, unit in enumerate(["NPU"] * 63 + ["CPU"] * 2)
        ],
    }


@pytest.fixture
def measured(tmp_path: Path) -> BenchFile:
    """A run's own figures, in ``bench.json``."""
    timing = RowTiming(median_ms=10.0, p90_ms=11.0, min_ms=9.0, runs=200, passes=1, verdict="stable")
    row = LatencyRow(
        name="onnx-fp32", threads=1, precision="fp32", timing=timing, speedup=Speedup(to="torch eager", value=4.0)
    )
    figures = BenchFile(
        command="mlkdc bench",
        when="2026-01-01T00:00:00+00:00",
        image_size=224,
        protocol=Protocol(passes=1, least_runs=200, least_seconds=3),
        devices={"local": DeviceInfo(url="local", machine=Machine(cpu="x", cores=2, system="y"))},
        rows=(row,),
    )
    figures.save(tmp_path)
    return figures


def write(folder: Path, values: object, name: str = "onnx-int8.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def test_a_profile_becomes_a_row_on_a_device_of_its_own(measured, tmp_path):
    figures = with_import(measured, "qai-hub", write(tmp_path, profile()), device=PHONE)
    own, row = figures.rows
    assert own == measured.rows[0]
    times = profile()["execution_summary"]["all_inference_times"]
    timing = row.timing
    assert timing.median_ms == pytest.approx(median(times) / 1000)
    assert timing.min_ms == pytest.approx(min(times) / 1000)
    assert sorted(times)[88] / 1000 <= timing.p90_ms <= sorted(times)[90] / 1000
    assert timing.load_ms == pytest.approx(311.671)
    assert timing.peak_mib == pytest.approx(39_406_752 / 1024 / 1024)
    assert (timing.runs, timing.verdict) == (99, "unknown")
    assert (
        timing.why == "qai-hub does not say whether other work disturbed it; of its layers it ran 63 on NPU, 2 on CPU"
    )
    assert (row.name, row.imported_from, row.speedup, row.accuracy) == ("onnx-int8", "qai-hub", None, None)
    assert list(row.turns[0].samples_us) == times
    assert list(figures.devices) == ["local", f"qai-hub: {PHONE}"]
    assert row.device == f"qai-hub: {PHONE}"
    phone = figures.devices[row.device]
    assert (phone.machine.cpu, phone.machine.cores, phone.machine.device) == (PHONE, None, "NPU")
    figures.save(tmp_path)
    assert BenchFile.load(tmp_path) == figures


def test_only_the_fastest_call_is_known_of_a_short_profile(measured, tmp_path):
    values = profile(all_inference_times=[], inference_memory_peak_range=None)
    _, row = with_import(measured, "qai-hub", write(tmp_path, values), device=PHONE).rows
    assert row.timing.median_ms == values["execution_summary"]["estimated_inference_time"] / 1000
    assert row.timing.peak_mib == 23.0
    assert row.timing.why.startswith("qai-hub gave the time of the fastest call only; of its layers")
    assert row.turns[0].samples_us == ()


@pytest.mark.parametrize("device", ["Pixel 9", {"name": "Pixel 9", "os": "Android 15", "attributes": []}])
def test_the_device_may_stand_in_the_file(measured, tmp_path, device):
    figures = with_import(measured, "qai-hub", write(tmp_path, {**profile(), "device": device}), name="mine")
    assert figures.rows[1].name == "mine"
    assert figures.devices["qai-hub: Pixel 9"].machine.system == (
        "unknown" if isinstance(device, str) else "Android 15"
    )
    named = with_import(measured, "qai-hub", tmp_path / "onnx-int8.json", device=PHONE)
    assert list(named.devices) == ["local", f"qai-hub: {PHONE}"]


def test_a_second_import_replaces_the_first(measured, tmp_path):
    once = with_import(measured, "qai-hub", write(tmp_path, profile()), device=PHONE)
    slower = write(tmp_path, profile(all_inference_times=[9000, 9000]))
    twice = with_import(once, "qai-hub", slower, device=PHONE)
    assert [row.timing.median_ms for row in twice.rows] == [10.0, 9.0]
    other = with_import(twice, "qai-hub", slower, device="Pixel 9")
    assert len(other.rows) == 3


def test_what_was_imported_is_not_recommended(measured, tmp_path):
    figures = with_import(measured, "qai-hub", write(tmp_path, profile(), "onnx-fp32.json"), device=PHONE)
    [local] = recommend(figures, {"onnx-fp32": make_manifest(tmp_path, [])}, Budget(20.0))
    assert (local.device, local.row) == ("local", measured.rows[0])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            '{"Time": [1, 2]}',
            r"is not a profile of qai-hub: it has no execution_summary; save what `download_profile\(\)`",
        ),
        ("[1]", "expected a JSON object, got list"),
        ("nonsense", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        (
            '{"execution_summary": {"estimated_inference_time": 1, "estimated_inference_peak_memory": 1e400}}',
            "should be less than",
        ),
        (
            '{"execution_summary": {"estimated_inference_time": 1}, "device": {"name": "S24\\u001b[2J"}}',
            r"expected words, got 'S24\\x1b\[2J'",
        ),
        ('{"execution_summary": 5}', "execution_summary: input should be"),
        ('{"execution_summary": {}}', "execution_summary.estimated_inference_time is missing"),
        ('{"execution_summary": {"estimated_inference_time": -1}}', "should be greater than 0, got -1"),
        ('{"execution_summary": {"estimated_inference_time": NaN}}', "should be a valid number, got None"),
        ('{"execution_summary": {"estimated_inference_time": 1e300}}', "should be less than"),
        ('{"execution_summary": {"estimated_inference_time": 1, "all_inference_times": [0]}}', "greater than 0, got 0"),
        (
            '{"execution_summary": {"estimated_inference_time": 1}}',
            "does not say which device it is of; name it: --dev",
        ),
    ],
)
def test_what_is_no_profile_is_refused(measured, tmp_path, content, says):
    path = tmp_path / "profile.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=says):
        with_import(measured, "qai-hub", path)
    with pytest.raises(UsageError, match=r"none\.json is missing"):
        with_import(measured, "qai-hub", tmp_path / "none.json")


def test_another_tool_is_refused_with_what_is_read(measured, tmp_path):
    with pytest.raises(UsageError, match="files of 'benchmark_model' cannot be imported; expected qai-hub"):
        with_import(measured, "benchmark_model", write(tmp_path, profile()))


def test_the_command_adds_it_to_the_figures(measured, tmp_path):
    file, figures = write(tmp_path, profile()), tmp_path / "bench.json"
    command = [
        "bench",
        "--import",
        "qai-hub",
        str(file),
        "--device",
        PHONE,
        "--name",
        "phone-int8",
        "--out",
        str(figures),
    ]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    line, _ = [line for line in done.stdout.splitlines() if line.startswith("phone-int8 ")]
    assert "unknown" in line
    assert "qai-hub does not say whether other work disturbed it" in done.stdout
    assert [row.name for row in BenchFile.load(tmp_path).rows] == ["onnx-fp32", "phone-int8"]


def test_what_was_imported_stays_when_the_run_is_measured_again(measured, tmp_path, make_artifact):
    out = tmp_path / "bench.json"
    with_import(measured, "qai-hub", write(tmp_path, profile()), name="phone-int8", device=PHONE).save_as(out)
    options = ["--passes", "1", "--threads", "1", "--seconds", "0.1", "--out", str(out)]
    artifact = str(make_artifact())
    for _ in range(2):
        done = CliRunner().invoke(cli, ["bench", artifact, *options])
        assert done.exit_code == 0, done.output
        assert "phone-int8 " in done.stdout
        figures = BenchFile.load_from(out)
        assert [row.name for row in figures.rows] == ["onnx-fp32", "phone-int8"]
        assert list(figures.devices) == ["local", f"qai-hub: {PHONE}"]
    # It is no measurement: a command that could time nothing fails, and changes nothing.
    before = out.read_bytes()
    done = CliRunner().invoke(cli, ["bench", artifact, *options, "--device", "ssh://nobody@127.0.0.1:1"])
    assert "nothing could be timed" in str(done.exception)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--threads", "2"], "--import measures nothing, so --threads has no meaning with it; omit it"),
        (["--device", "Pixel 9"], "name one run, and one --device at most"),
        (
            ["--out", "none.json"],
            "none.json is missing: --import adds a row to measured figures; run `mlkdc bench` on the run first",
        ),
    ],
)
def test_a_command_that_makes_no_sense_changes_nothing(measured, tmp_path, options, says):
    file, figures = write(tmp_path, profile()), tmp_path / "bench.json"
    before = figures.read_bytes()
    command = ["bench", "--import", "qai-hub", str(file), "--device", PHONE, "--out", str(figures), *options]
    done = CliRunner().invoke(cli, command)
    assert isinstance(done.exception, UsageError)
    assert says in str(done.exception)
    assert figures.read_bytes() == before


def test_a_name_alone_is_refused():
    done = CliRunner().invoke(cli, ["bench", "--name", "x"])
    assert "--name goes with --import" in str(done.exception)
