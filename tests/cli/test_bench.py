"""`mlkdc bench` and `mlkdc doctor --device` as they are typed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mlkdc.cli import cli
from mlkdc.cli.bench import Milliseconds
from mlkdc.commands.bench import manifests
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.answers import ANSWERS_FILE, KnownAnswers
from mlkdc.records.bench import Accuracy, BenchFile
from mlkdc.records.run import Run

QUICK = ("--passes", "1", "--threads", "1", "--seconds", "0.2")


def bench(*arguments: object):
    return CliRunner().invoke(cli, ["bench", *map(str, arguments), *QUICK])


def test_a_table_a_file_and_what_limits_the_figures(make_artifact, tmp_path):
    out = tmp_path / "figures.json"
    done = bench(make_artifact(), "--out", out)
    assert done.exit_code == 0, done.output
    table, _, rest = done.stdout.partition("\n\n")
    assert table.splitlines()[-1].startswith("onnx-fp32")
    assert max(map(len, table.splitlines())) <= 80
    assert str(out) in rest
    assert "answers not compared" in rest
    (row,) = BenchFile.load_from(out).rows
    assert row.timing.passes == len(row.turns) == 1
    assert not row.timing.stable, "one process does not show the spread"


def test_answers_and_accuracy_are_measured_on_the_device(finished_run: Path, tmp_path):
    artifact = finished_run / "export" / "onnx-fp32"
    out = tmp_path / "figures.json"
    done = bench(artifact, "--score", "all", "--out", out)
    assert done.exit_code == 0, done.output
    (row,) = BenchFile.load_from(out).rows
    assert row.accuracy.within_tolerance
    assert row.accuracy.label_flips == 0
    # Another way to the same figure: in this process, through a session.
    scores = CliRunner().invoke(cli, ["evaluate", str(artifact), "--json"])
    assert row.accuracy.map_percent == pytest.approx(json.loads(scores.stdout)["metrics"]["mAP"], abs=0.01)
    part = bench(artifact, "--score", "4", "--out", out)
    assert part.exit_code == 0, part.output
    assert BenchFile.load_from(out).rows[0].accuracy.map_images == 4


def test_photos_are_timed_from_their_files(finished_run: Path, tmp_path):
    out = tmp_path / "figures.json"
    done = bench(finished_run / "export" / "onnx-fp32", "--photos", "3", "--out", out)
    assert done.exit_code == 0, done.output
    (row,) = BenchFile.load_from(out).rows
    assert row.photos.photos == 3
    assert 0 < row.photos.prepare_ms < row.photos.total_ms
    assert "of them to decode and resize it (median of 3)" in done.stdout


def test_earlier_figures_stay_where_nothing_was_measured(make_artifact, tmp_path):
    out = tmp_path / "figures.json"
    gone = ("--device", "ssh://nobody@nowhere.invalid")
    assert "was lost" in str(bench(make_artifact(), *gone, "--out", out).exception)
    assert len(BenchFile.load_from(out).lost) == 1, "of a first measurement the loss is kept"
    assert bench(make_artifact(), "--out", out).exit_code == 0
    before = out.read_bytes()
    done = bench(make_artifact(), *gone, "--out", out)
    assert "was lost" in str(done.exception)
    assert f"the earlier figures in {out} stay" in done.output
    assert out.read_bytes() == before


def test_a_measurement_that_is_stopped_leaves_the_one_before(make_artifact, tmp_path, monkeypatch):
    out, previous = tmp_path / "figures.json", tmp_path / "figures.previous.json"
    assert bench(make_artifact(), "--out", out).exit_code == 0
    before = out.read_bytes()
    save = BenchFile.save_as

    def stop(figures, path):
        save(figures, path)
        if figures.measured:
            raise KeyboardInterrupt

    for _ in range(2):  # the second one finds what the first has left
        monkeypatch.setattr(BenchFile, "save_as", stop)
        done = bench(make_artifact(), "--out", out)
        assert f"the figures of the measurement before this one are in {previous}" in done.output
        assert out.read_bytes() != before
        assert previous.read_bytes() == before
    monkeypatch.undo()
    assert bench(make_artifact(), "--out", out).exit_code == 0
    assert not previous.exists()


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "."])
def test_a_file_of_something_else_is_not_replaced(name, make_artifact):
    artifact = make_artifact()
    before = {path.name: path.read_bytes() for path in artifact.iterdir()}
    done = bench(artifact, "--out", artifact / name)
    assert isinstance(done.exception, UsageError)
    assert "name another file with --out" in str(done.exception) or "is a folder" in str(done.exception)
    assert "pass 1/1" not in done.output
    assert {path.name: path.read_bytes() for path in artifact.iterdir()} == before


def test_images_that_have_moved(finished_run: Path, tmp_path):
    run = Path(shutil.copytree(finished_run, tmp_path / "runs" / "photos"))
    recipe = run / "recipe.yaml"
    photos = finished_run.parent.parent / "photos"
    recipe.write_text(recipe.read_text().replace(str(photos), str(tmp_path / "gone")))
    artifact, out = run / "export" / "onnx-fp32", tmp_path / "figures.json"
    assert "is not there" in str(bench(artifact, "--score", "4", "--out", out).exception)
    done = bench(artifact, "--score", "4", "--data", photos, "--out", out)
    assert done.exit_code == 0, done.output
    assert BenchFile.load_from(out).rows[0].accuracy.map_images == 4


def test_images_that_the_run_was_trained_on_are_timed_and_never_scored(finished_run: Path, tmp_path):
    photos = Path(shutil.copytree(finished_run.parent.parent / "photos", tmp_path / "photos"))
    for number in range(48):
        if number % 5 > 2:  # of the val and test splits
            (photos / "images" / f"{number:03d}.png").unlink()
    artifact, out = finished_run / "export" / "onnx-fp32", tmp_path / "figures.json"
    for photos_too in ((), ("--photos", "2")):
        done = bench(artifact, "--score", "all", *photos_too, "--data", photos, "--out", out)
        assert isinstance(done.exception, UsageError)
        assert f"no image of the test split of {finished_run} is left in {photos}" in str(done.exception)
        assert not out.exists()
    done = bench(artifact, "--photos", "2", "--data", photos, "--out", out)
    assert done.exit_code == 0, done.output
    assert BenchFile.load_from(out).rows[0].photos.photos == 2


def test_a_device_that_answers_otherwise_fails_the_command(finished_run: Path, tmp_path):
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    known = KnownAnswers.load(run)
    KnownAnswers(known.pixels, 1 - known.probabilities, known.targets).save(run)
    out = tmp_path / "figures.json"
    done = bench(run / "export" / "onnx-fp32", "--out", out)
    assert isinstance(done.exception, MlkdcError)
    assert done.exception.exit_code == 1
    assert "onnx-fp32 answers otherwise on local" in str(done.exception)
    assert "its answers differ from the torch model's" in done.stdout
    assert BenchFile.load_from(out).rows[0].timing is not None
    (run / ANSWERS_FILE).write_bytes(b"damaged")
    assert "is damaged" in bench(run / "export" / "onnx-fp32", "--out", out).stdout


def test_runs_of_one_folder_name_are_judged_by_their_own_answers(finished_run: Path, tmp_path):
    runs = [Path(shutil.copytree(finished_run, tmp_path / home / "r")) for home in ("a", "b")]
    known = KnownAnswers.load(runs[1])
    KnownAnswers(known.pixels, 1 - known.probabilities, known.targets).save(runs[1])
    out = tmp_path / "figures.json"
    done = bench(*runs, runs[0] / "export" / "onnx-fp32", "--out", out)
    assert str(done.exception) == "b/r/onnx-fp32 answers otherwise on local"
    rows = {row.name: row for row in BenchFile.load_from(out).rows}
    assert list(rows) == ["a/r/torch eager", "b/r/torch eager", "a/r/onnx-fp32", "b/r/onnx-fp32"]
    assert rows["a/r/onnx-fp32"].accuracy.label_flips == 0
    assert list(manifests(runs)) == ["a/r/onnx-fp32", "b/r/onnx-fp32"]


def test_a_run_that_is_named_twice_is_measured_once(finished_run: Path, tmp_path):
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    done = bench(run, run / "export" / "..")
    assert done.exit_code == 0, done.output
    assert [row.name for row in BenchFile.load(run).rows] == ["torch eager", "onnx-fp32"]


def test_the_only_torch_model_is_what_speedups_refer_to(finished_run: Path, make_artifact, tmp_path):
    out = tmp_path / "figures.json"
    done = bench(finished_run, make_artifact(), "--out", out)
    assert done.exit_code == 0, done.output
    rows = BenchFile.load_from(out).rows
    assert rows[0].name == "torch eager"
    assert len(rows) == 3
    assert {row.speedup.to for row in rows} == {"torch eager"}


def test_images_of_another_model_are_not_compared(make_artifact, tmp_path):
    folder = make_artifact()
    pixels = np.zeros((1, 3, 32, 32), np.uint8)
    KnownAnswers(pixels, np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8)).save(folder.parent.parent)
    assert "are of another model" in bench(folder, "--out", tmp_path / "figures.json").stdout


def test_a_whole_run_fails_where_its_measurement_would(finished_run: Path, tmp_path, monkeypatch):
    run = Path(shutil.copytree(finished_run, tmp_path / "my runs" / "photos"))
    ended = []

    def run_all(recipe, **options):
        figures = BenchFile.load(run)
        if ended:
            accuracy = Accuracy(images=8, max_probability_difference=0.9, within_tolerance=False, label_flips=9)
            rows = tuple(row.model_copy(update={"accuracy": accuracy}) for row in figures.rows)
            figures = figures.model_copy(update={"rows": rows})
        return Run(run), figures, run / "report.html"

    monkeypatch.setattr("mlkdc.commands.run.run_all", run_all)
    for expected in ("", "onnx-fp32 answers otherwise on local"):
        done = CliRunner().invoke(cli, ["run", "--resume", str(run), "--data", "my photos"])
        assert expected in str(done.exception or "")
        assert (done.exit_code == 0) == (not expected), done.output
        assert f"mlkdc evaluate '{run}' --data 'my photos'" in done.stdout
        ended.append(True)
    assert isinstance(done.exception, MlkdcError)
    # Each as it is pasted into a shell.
    done = CliRunner().invoke(cli, ["run", "--resume", str(run)])
    assert f"--model '{run}/export/onnx-fp32'" in done.stdout
    done = CliRunner().invoke(cli, ["distill", "--resume", str(run)])
    assert f"mlkdc export '{run}' --target onnx" in done.stdout


def test_an_artifact_in_the_working_folder_has_a_name(finished_run: Path, monkeypatch):
    monkeypatch.chdir(finished_run / "export" / "onnx-fp32")
    done = CliRunner().invoke(cli, ["evaluate", "."])
    assert "thresholds from onnx-fp32/manifest.json" in done.stderr


@pytest.mark.parametrize(("limit", "fails"), [("0.000001ms", True), ("60s", False)])
def test_a_gate_for_ci(make_artifact, tmp_path, limit, fails):
    done = bench(make_artifact(), "--fail-over", limit, "--out", tmp_path / "figures.json")
    assert (done.exit_code != 0) == fails
    if fails:
        assert isinstance(done.exception, MlkdcError)
        assert "onnx-fp32 takes up to" in str(done.exception)
    assert (tmp_path / "figures.json").is_file()


def test_a_row_that_cannot_be_timed_does_not_pass_the_gate(make_artifact, tmp_path):
    done = bench(make_artifact(runtime="coreml"), "--fail-over", "60s", "--out", tmp_path / "figures.json")
    assert "onnx-fp32 could not be timed" in str(done.exception)


def test_a_recommendation(make_artifact, tmp_path):
    out = tmp_path / "figures.json"
    assert "local: ship onnx-fp32" in bench(make_artifact(), "--budget", "1s", "--out", out).stdout
    none = bench(make_artifact(), "--budget", "1s", "--min-map", "99", "--out", out)
    assert "local: none fits 1000 ms and mAP 99; onnx-fp32" in none.stdout


def test_a_device_that_is_not_there_does_not_stop_the_others(make_artifact, tmp_path):
    out = tmp_path / "figures.json"
    done = bench(make_artifact(), "--device", "ssh://nobody@nowhere.invalid", "--device", "local", "--out", out)
    assert "ssh://nobody@nowhere.invalid was lost" in str(done.exception)
    figures = BenchFile.load_from(out)
    assert [row.device for row in figures.rows if row.timing] == ["local"]
    assert "there is no host of that name" in figures.lost[0].why


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--device", "pi"), "unknown device 'pi'; expected local, ssh://"),
        (("--device", "local", "--device", "local"), "named twice"),
        (("--min-map", "60"), "--min-map goes with --budget"),
        (("--data", "photos"), "--data goes with --score"),
        (("--photos", "2"), "--photos needs the run's images"),
        (("--score", "all"), "--score needs the run's images"),
        (("--baseline", "onnx"), "did you mean onnx-fp32?"),
    ],
)
def test_what_is_refused(make_artifact, tmp_path, arguments, words):
    done = bench(make_artifact(), *arguments, "--out", tmp_path / "figures.json")
    assert isinstance(done.exception, UsageError)
    assert words in str(done.exception)


@pytest.mark.parametrize(("text", "expected"), [("8ms", 8), ("8", 8), ("0.5s", 500), ("1.25 ms", 1.25)])
def test_durations(text, expected):
    assert Milliseconds().convert(text, None, None) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("--budget", "fast"),
        ("--fail-over", "0ms"),
        ("--score", "0"),
        ("--score", "x"),
        ("--score", "²"),
        ("--min-map", "nan"),
        ("--sustained", "inf"),
        ("--cool-to", "nan"),
    ],
)
def test_numbers_that_are_none(make_artifact, arguments):
    done = bench(make_artifact(), *arguments)
    assert done.exit_code == 2
    assert "expected" in done.output


def test_doctor_looks_at_a_device():
    done = CliRunner().invoke(cli, ["doctor", "--device", "local"])
    assert done.exit_code == 0, done.output
    assert "MiB free" in done.stdout
    line = next(line for line in done.stdout.splitlines() if line.startswith("all"))
    assert np.__version__ in line
    assert line.endswith("ready")
    report = json.loads(CliRunner().invoke(cli, ["doctor", "--device", "local", "--json"]).stdout)
    states = {state["target"]: state for state in report["runtimes"]}
    assert states["coreml"]["state"] == "no: needs macOS"
    assert states["onnx"]["state"] == "ready"


def test_a_folder_of_web_runtimes_goes_to_the_browser(make_artifact, tmp_path, monkeypatch):
    asked = {}

    def device_at(url, **options):
        asked[url] = options["web_runtime"]
        raise UsageError("no further")

    monkeypatch.setattr("mlkdc.commands.bench.device_at", device_at)
    option = ("--web-runtime", tmp_path)
    assert str(bench(make_artifact(), "--device", "browser", *option).exception) == "no further"
    assert asked == {"browser": tmp_path}
    assert "--web-runtime goes with a browser" in str(bench(tmp_path, *option).exception)


def test_doctor_gives_the_line_that_installs_what_is_missing(monkeypatch):
    from mlkdc.commands.device import check_device
    from mlkdc.devices.local import LocalDevice
    from mlkdc.records.bench import DeviceInfo

    def old_arm_board(device: LocalDevice) -> DeviceInfo:
        info = AGENT_OPEN(device)
        machine = info.machine.model_copy(update={"system": "Linux 5.10 aarch64"})
        return info.model_copy(update={"machine": machine, "libc": "glibc 2.31", "versions": {}})

    AGENT_OPEN = LocalDevice.open
    monkeypatch.setattr(LocalDevice, "open", old_arm_board)
    states = {state.target: state for state in check_device("local").runtimes}
    assert states["onnx"].install.endswith("-m pip install onnxruntime")
    assert states["openvino"].state == "no: its wheels need glibc 2.35, this is 2.31"
    assert states["openvino"].install == ""


@pytest.mark.parametrize("device", ["browser", "browser://chromium?wait=1"])
def test_a_browser_cannot_be_waited_for_to_cool(make_artifact, tmp_path, device: str):
    out = tmp_path / "figures.json"
    done = bench(make_artifact(), "--device", device, "--cool-to", "50", "--out", out)
    assert isinstance(done.exception, UsageError)
    assert str(done.exception) == "--cool-to waits for a device to cool, and browsers tell no temperature; omit it"
    assert not out.exists()
