"""A fake phone without Python: the user's programs there, what they print, and the phone left as it was."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from android import FIXED, Android
from fake_adbd import FakePhone
from phone_programs import BENCHMARK_MODEL, EXECUTOR_RUNNER, LOGCAT
from phones import Plug
from samples import make_manifest
from test_adb_output import LITERT

from mlkdc.devices.adb import AdbDevice
from mlkdc.devices.base import DeviceLost, Load, Subject
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.bench import BenchFile
from mlkdc.runtime.timing import KEPT_SAMPLES

QUICK = Load(threads=1, least_runs=30, least_seconds=0.1)
SIZE = 8


@pytest.fixture
def programs(android: Android) -> str:
    """The URL's options for both programs, which are on the phone."""
    runner = android.add_python("executor_runner", EXECUTOR_RUNNER)
    android.add("logcat", LOGCAT)
    return f"benchmark_model={android.add_python('benchmark_model', BENCHMARK_MODEL)}&executor_runner={runner}"


@pytest.fixture
def device(phone: FakePhone, programs: str) -> Iterator[AdbDevice]:
    """A phone with both programs, not open yet."""
    with AdbDevice(f"adb://{phone.serial}?{programs}") as device:
        yield device


def matrix(folder: Path, runtime: str, *, dtype: str = "float32") -> Subject:
    """An artifact whose model is a matrix."""
    folder.mkdir()
    ending = {"litert": "tflite", "executorch": "pte", "onnxruntime": "onnx"}[runtime]
    target = {"litert": "litert", "executorch": "executorch", "onnxruntime": "onnx"}[runtime]
    weights = np.random.default_rng(1).random((3 * SIZE * SIZE, 3)).astype(np.float32) / 50_000
    with (folder / f"model.{ending}").open("wb") as stream:
        np.save(stream, weights)
    return Subject(folder, make_manifest(folder, [f"model.{ending}"], runtime=runtime, target=target, size=SIZE))


def left(phone: FakePhone) -> list[str]:
    """What lies on the phone."""
    return [path.name for path in phone.tmp.iterdir()]


def test_a_phone_says_what_it_is(device: AdbDevice, android: Android) -> None:
    info = device.open()
    assert info.machine.cpu == "Acme AC900 fake"
    assert info.machine.cores == os.cpu_count()
    assert info.machine.system.startswith("Android 15 (API 35) arm64-v8a, Linux ")
    assert info.machine.memory_gib is not None
    notes = " ".join(info.notes)
    for expected in (
        "Phone: Acme Fake 9, Android 15, arm64-v8a",
        "battery was at 85 %, powered by USB",
        "Fixed performance mode was on",
        "Thermal status 0 (none) at the start; 0 does not exclude throttling",
        "prints no single calls: there are no samples",
        "benchmark_model measured it (SHA-256 ",
    ):
        assert expected in notes
    assert device.start_celsius == 41.5
    assert info.agent_sha256 is None


@pytest.mark.parametrize("runtime", ["litert", "executorch"])
def test_a_turn_and_answers(device: AdbDevice, android: Android, tmp_path: Path, runtime: str) -> None:
    device.open()
    subject = matrix(tmp_path / "artifact", runtime)
    turn = device.turn(subject, QUICK)
    assert turn.runs >= 30
    # The program sleeps for a millisecond in each call.
    assert 1 <= turn.min_ms <= turn.median_ms <= turn.p90_ms < 100
    assert turn.conditions.celsius == (41.5, 41.5)
    assert turn.conditions.throttled == ""
    assert turn.conditions.waited is not None
    assert 0 <= turn.conditions.waited <= 1
    assert turn.load_ms is not None
    assert turn.first_ms is not None
    pixels = np.random.default_rng(2).integers(0, 256, (5, 3, SIZE, SIZE), dtype=np.uint8)
    weights = np.load(next(subject.folder.iterdir()))
    np.testing.assert_allclose(device.answers(subject, pixels), pixels.reshape(5, -1) @ weights, rtol=1e-5)


def test_single_calls_come_from_executor_runner_alone(device: AdbDevice, tmp_path: Path) -> None:
    device.open()
    assert device.turn(matrix(tmp_path / "a", "litert"), QUICK).samples_us == ()
    turn = device.turn(matrix(tmp_path / "b", "executorch"), QUICK)
    assert len(turn.samples_us) == min(turn.runs, KEPT_SAMPLES)
    assert turn.drift is not None


def test_mlkdc_bench(phone: FakePhone, programs: str, tmp_path: Path) -> None:
    """From the command line to bench.json, with an artifact that no program there runs."""
    for runtime in ("litert", "onnxruntime"):
        subject = matrix(tmp_path / runtime, runtime)
        subject.manifest.save(subject.folder)
    device = f"adb://{phone.serial}?{programs}"
    out = tmp_path / "bench.json"
    options = ["--device", device, "--passes", "2", "--seconds", "0.2", "--threads", "1", "--out", str(out)]
    command = [
        sys.executable,
        "-m",
        "mlkdc",
        "bench",
        str(tmp_path / "litert"),
        str(tmp_path / "onnxruntime"),
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    figures = BenchFile.load_from(out)
    assert set(figures.devices) == {device}, done.stderr
    litert, onnx = sorted(figures.rows, key=lambda row: row.name)
    assert litert.timing is not None
    assert litert.timing.passes == 2
    assert litert.timing.verdict in ("unknown", "disturbed", "spread", "unsettled")
    assert onnx.timing is None
    assert onnx.skipped is not None
    assert "no program on the phone runs onnxruntime artifacts" in onnx.skipped
    assert left(phone) == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
@pytest.mark.parametrize("neighbors", [0, 2])
def test_a_program_that_shares_its_core(phone: FakePhone, android: Android, tmp_path: Path, neighbors: int) -> None:
    """How long it waits is what two busy neighbors on its core leave it, two thirds of the time."""
    core = max(os.sched_getaffinity(0))
    busy = "import os, time; os.sched_setaffinity(0, {%d}); e = time.time() + %d\nwhile time.time() < e: pass\n"
    program = android.add_python("benchmark_model", busy % (core, 3) + f"print({LITERT!r})")
    processes = [subprocess.Popen([sys.executable, "-c", busy % (core, 30)]) for _ in range(neighbors)]
    try:
        with AdbDevice(f"adb://{phone.serial}?benchmark_model={program}") as device:
            device.open()
            conditions = device.turn(matrix(tmp_path / "artifact", "litert"), QUICK).conditions
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert conditions.waited is not None
    assert conditions.cpu_fraction is not None
    assert conditions.waited + conditions.cpu_fraction == pytest.approx(1, abs=0.1)
    if neighbors:
        assert conditions.waited > 0.5


def test_the_clock_is_read_while_the_program_runs(
    phone: FakePhone, android: Android, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after its end, where that of an idle core has fallen."""
    for core, khz in {"cpu0": "600000", "cpu1": "300000", "cpu2": "<unknown>"}.items():
        (tmp_path / core).write_text(f"{khz}\n")
    monkeypatch.setattr("mlkdc.devices.adb.watch.CLOCKS", f"{tmp_path}/cpu[0-9]")
    code = f"""
import pathlib, time
clock = pathlib.Path({str(tmp_path / "cpu1")!r})
clock.write_text("2400000\\n")
time.sleep(3.2)
clock.write_text("300000\\n")
print({LITERT!r})
"""
    program = android.add_python("benchmark_model", code)
    with AdbDevice(f"adb://{phone.serial}?benchmark_model={program}") as device:
        device.open()
        conditions = device.turn(matrix(tmp_path / "artifact", "litert"), QUICK).conditions
    assert conditions.mhz == (2400, 2400)


def test_a_file_that_says_otherwise_than_its_manifest_is_not_sent(
    device: AdbDevice, phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A made-up reader of the made-up model; real files are read in tests/exporting/test_metadata.py."""

    class Reads:
        def metadata(self) -> dict[str, str]:
            return {"classes": '["another", "b", "c"]'}

        def close(self) -> None:
            pass

    monkeypatch.setattr("mlkdc.devices.metadata.load_backend", lambda folder, spec, threads: Reads())
    device.open()
    (folder,) = left(phone)
    subject = matrix(tmp_path / "litert", "litert")
    for job in (lambda: device.turn(subject, QUICK), lambda: device.answers(subject, np.zeros((1, 3, 8, 8), np.uint8))):
        with pytest.raises(UsageError, match="the manifest is not that of the model file: entry 1 of classes"):
            job()
    assert [path.name for path in (phone.tmp / folder).iterdir()] == ["guard"]


def test_other_artifacts_are_skipped(device: AdbDevice, tmp_path: Path) -> None:
    device.open()
    subject = matrix(tmp_path / "onnx", "onnxruntime")
    for job in (lambda: device.turn(subject, QUICK), lambda: device.answers(subject, np.zeros((1, 3, 8, 8), np.uint8))):
        with pytest.raises(MlkdcError, match=r"no program on the phone runs onnxruntime artifacts .*benchmark_model"):
            job()


def test_the_phone_is_left_as_it_was(device: AdbDevice, android: Android, phone: FakePhone, tmp_path: Path) -> None:
    device.open()
    assert [call for call in android.calls if call.startswith(FIXED)] == [f"{FIXED}true"]
    device.turn(matrix(tmp_path / "artifact", "litert"), QUICK)
    assert len(left(phone)) == 1
    device.close()
    assert [call for call in android.calls if call.startswith(FIXED)] == [f"{FIXED}true", f"{FIXED}false"]
    assert left(phone) == []
    device.close()


def test_also_after_an_error(device: AdbDevice, android: Android, phone: FakePhone, tmp_path: Path) -> None:
    subject = matrix(tmp_path / "artifact", "litert")
    device.open()
    with contextlib.suppress(KeyError), device:
        device.turn(subject, QUICK)
        raise KeyError
    assert android.calls[-1] == f"{FIXED}false"
    assert left(phone) == []


def test_also_when_the_cable_is_pulled(plug: Plug, programs: str, android: Android, tmp_path: Path) -> None:
    """The phone itself cleans up: nothing can be sent to it any more."""
    phone = plug(unplug_at="--num_runs")
    device = AdbDevice(f"adb://{phone.serial}?{programs}")
    device.open()
    with pytest.raises(DeviceLost, match="was disconnected"):
        device.turn(matrix(tmp_path / "artifact", "litert"), Load(threads=1, least_seconds=60))
    android.wait_until_restored(phone.tmp)
    device.close()


def test_also_when_mlkdc_is_killed(phone: FakePhone, programs: str, android: Android) -> None:
    code = (
        "import os, signal; from mlkdc.devices.adb import AdbDevice\n"
        f"AdbDevice('adb://{phone.serial}?{programs}').open(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -9
    assert f"{FIXED}true" in android.calls
    android.wait_until_restored(phone.tmp)


def test_files_are_kept_where_that_is_asked_for(phone: FakePhone, programs: str, android: Android) -> None:
    device = AdbDevice(f"adb://{phone.serial}?{programs}", keep=True)
    notes = device.open().notes
    device.close()
    [kept] = left(phone)
    assert any(kept in note for note in notes)
    assert android.calls[-1] == f"{FIXED}false"


def test_a_phone_without_fixed_performance_mode(device: AdbDevice, android: Android) -> None:
    android.add("cmd", "echo Failed to set FIXED_PERFORMANCE mode >&2; exit 255")
    assert "It has no fixed performance mode: its clock rose and fell as the phone liked." in device.open().notes
    device.close()
    assert [call for call in android.calls if call.startswith(FIXED)] == [f"{FIXED}true"]


def test_a_dark_screen_is_refused(device: AdbDevice, android: Android, phone: FakePhone, tmp_path: Path) -> None:
    android.screen(on=False)
    with pytest.raises(UsageError, match=r"screen of adb://.* is off.*Stay awake"):
        device.open()
    assert not any(call.startswith(FIXED) for call in android.calls)
    android.screen(on=True)
    device.open()
    android.screen(on=False)
    # It is set up, and no longer there: what was measured is kept.
    with pytest.raises(DeviceLost, match="is off"):
        device.turn(matrix(tmp_path / "artifact", "litert"), QUICK)


def test_a_turn_during_which_the_screen_goes_dark_does_not_count(
    phone: FakePhone, android: Android, tmp_path: Path
) -> None:
    power = str(android.folder / "power.txt")
    turns_it_off = f"open({power!r}, 'w').write('  mWakefulness=Dozing')"
    program = android.add_python("benchmark_model", f"{turns_it_off}\nprint({LITERT!r})")
    with AdbDevice(f"adb://{phone.serial}?benchmark_model={program}") as device:
        device.open()
        with pytest.raises(DeviceLost, match=r"screen of adb://.* went dark while it measured, .*Stay awake"):
            device.turn(matrix(tmp_path / "artifact", "litert"), QUICK)


def test_a_hot_phone(device: AdbDevice, android: Android, tmp_path: Path) -> None:
    device.open()
    subject = matrix(tmp_path / "artifact", "litert")
    android.thermal(2, 60.0)
    turn = device.turn(subject, QUICK)
    assert turn.conditions.throttled == "thermal status 2 (moderate)"
    assert turn.conditions.cooled_seconds == 0

    # A degree cooler at every look.
    cooling = f'n=$(wc -l <"{android.folder}/looks"); t=$((60 - n)); '
    thermal = f'sed "s/=60.0/=$t.0/" "{android.folder}/$1.txt"'
    android.add("dumpsys", f'echo >>"{android.folder}/looks"; {cooling}{thermal}')
    turn = device.turn(subject, Load(threads=1, least_runs=30, least_seconds=0.1, cool_to=56.0))
    assert turn.conditions.celsius is not None
    assert turn.conditions.celsius[0] <= 56
    assert turn.conditions.cooled_seconds >= 1


def test_a_phone_on_which_nothing_can_be_written(device: AdbDevice, android: Android, phone: FakePhone) -> None:
    android.add("mkdir", "echo 'mkdir: Read-only file system' >&2; exit 1")
    with pytest.raises(DeviceLost, match=r"no folder could be made in /data/local/tmp \(mkdir: Read-only file system"):
        device.open()
    assert not any(call.startswith(FIXED) for call in android.calls)


def test_a_program_that_is_missing(phone: FakePhone, android: Android) -> None:
    with pytest.raises(UsageError, match="has no program /data/local/tmp/bm; put it there: `adb push benchmark_model"):
        AdbDevice(f"adb://{phone.serial}?benchmark_model=/data/local/tmp/bm").open()


def test_a_full_phone(plug: Plug, programs: str, tmp_path: Path) -> None:
    phone = plug(free_bytes=500)
    with AdbDevice(f"adb://{phone.serial}?{programs}") as device:
        device.open()
        with pytest.raises(MlkdcError, match=r"has no room for model.tflite"):
            device.turn(matrix(tmp_path / "artifact", "litert"), QUICK)
    assert left(phone) == []


def test_a_program_that_fails(phone: FakePhone, android: Android, tmp_path: Path) -> None:
    program = android.add(
        "benchmark_model", "echo 'INFO: STARTING!'; echo 'ERROR: Failed to load model model' >&2; exit 1"
    )
    subject = matrix(tmp_path / "artifact", "litert")
    with AdbDevice(f"adb://{phone.serial}?benchmark_model={program}") as device:
        device.open()
        with pytest.raises(MlkdcError, match="benchmark_model on the phone ended with exit code 1: ERROR: Failed to"):
            device.turn(subject, QUICK)
        with pytest.raises(MlkdcError, match="ERROR: Failed to load model"):
            device.answers(subject, np.zeros((2, 3, SIZE, SIZE), np.uint8))


def test_a_program_that_writes_too_little(phone: FakePhone, android: Android, tmp_path: Path) -> None:
    program = android.add("benchmark_model", "printf 1234 >output.bin")
    with AdbDevice(f"adb://{phone.serial}?benchmark_model={program}") as device:
        device.open()
        with pytest.raises(MlkdcError, match="wrote 8 bytes for 2 images, expected 24; take a newer one"):
            device.answers(matrix(tmp_path / "artifact", "litert"), np.zeros((2, 3, SIZE, SIZE), np.uint8))


def test_a_program_that_writes_nothing_or_finds_no_room(phone: FakePhone, android: Android, tmp_path: Path) -> None:
    program = android.add("benchmark_model", "true")
    subject, pixels = matrix(tmp_path / "artifact", "litert"), np.zeros((2, 3, SIZE, SIZE), np.uint8)
    with AdbDevice(f"adb://{phone.serial}?benchmark_model={program}") as device:
        device.open()
        with pytest.raises(MlkdcError, match="wrote 0 bytes for 2 images, expected 24; take a newer one"):
            device.answers(subject, pixels)
        android.add("head", "echo 'head: write: No space left on device' >&2; exit 1")
        with pytest.raises(MlkdcError, match="the phone has no room for what benchmark_model reads and writes"):
            device.answers(subject, pixels)


def test_a_log_that_has_lost_lines(device: AdbDevice, android: Android, tmp_path: Path) -> None:
    """Those of the warm-up may be lost, the timed ones not."""
    device.open()
    subject = matrix(tmp_path / "artifact", "executorch")
    android.add("logcat", LOGCAT.replace("100000", "40"))
    turn = device.turn(subject, QUICK)
    assert 30 <= turn.runs <= 38  # two lines come after them
    assert turn.first_ms is None
    android.add("logcat", LOGCAT.replace("100000", "25"))
    with pytest.raises(MlkdcError, match=r"log kept 23 of executor_runner's calls, expected 30; .*logcat -G 16M"):
        device.turn(subject, QUICK)
    android.add("logcat", "")
    with pytest.raises(MlkdcError, match=r"logged no times .*EXECUTORCH_ENABLE_LOGGING=ON"):
        device.turn(subject, QUICK)
