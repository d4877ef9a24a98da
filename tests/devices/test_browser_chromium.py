"""The page in a real Chromium with the real runtimes, its answers next to those of the runtimes of Python.

Skipped where there is no Chromium, or the runtimes cannot be fetched.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from threading import Timer

import numpy as np
import pytest
from fake_page import FakePage
from tiny_artifacts import broken_artifact, expected, litert_artifact, noise, onnx_artifact

from mlkdc.devices.base import DeviceLost, Load, Subject
from mlkdc.devices.browser import BrowserDevice, chromium
from mlkdc.devices.browser.chromium import Chromium, find_chromium
from mlkdc.devices.browser.messages import Engine
from mlkdc.devices.browser.runtimes import PACKAGES, find_runtime
from mlkdc.devices.urls import device_at
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.answers import KnownAnswers
from mlkdc.records.bench import BenchFile, Turn
from mlkdc.runtime.session import open_artifact

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed"),
]
BRIEF = Load(threads=1, least_runs=200, least_seconds=0.2)
#: A name that a browser does not trust as it trusts localhost, though it is this machine.
UNTRUSTED = "phone.test"


@pytest.fixture(scope="session")
def web_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the runtimes, for all processes that pytest-xdist starts."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    return base / "web"


@pytest.fixture
def runtimes(web_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Engine], None]:
    """Fetches a runtime once for all tests, or skips."""
    monkeypatch.setenv("MLKDC_CACHE", str(web_cache))

    def fetch(engine: Engine) -> None:
        try:
            find_runtime(engine, None, lambda _: None)
        except MlkdcError as error:
            if "could not fetch" not in str(error):
                raise
            pytest.skip(str(error))

    return fetch


@pytest.fixture
def browser() -> Iterator[BrowserDevice]:
    with device_at("browser://chromium") as connected:
        connected.open()
        yield connected


def native(subject: Subject, pixels: np.ndarray) -> np.ndarray:
    with open_artifact(subject.folder, threads=1) as session:
        return session.predict(pixels)


def check_turn(turn: Turn) -> None:
    assert turn.runs >= 200
    assert turn.warmup_runs > 20
    assert 0 < turn.min_ms <= turn.median_ms <= turn.p90_ms < 1000
    assert turn.load_ms is not None
    assert turn.first_ms is not None
    assert len(turn.samples_us) >= 200
    assert turn.median_ms * 1000 == pytest.approx(np.median(turn.samples_us), rel=0.5, abs=2)


def test_onnx_in_every_layout_answers_as_in_python(
    runtimes: Callable[[Engine], None], browser: BrowserDevice, tmp_path: Path
) -> None:
    runtimes("onnxruntime")
    pixels = noise(70)
    for layout in ("NCHW", "NHWC"):
        for dtype in ("float32", "uint8"):
            subject = onnx_artifact(tmp_path / f"{layout}-{dtype}", layout, dtype)
            answers = browser.answers(subject, pixels)
            np.testing.assert_allclose(answers, expected(pixels), rtol=0, atol=1e-5)
            np.testing.assert_allclose(answers, native(subject, pixels), rtol=0, atol=1e-5)
    assert np.ptp(answers) > 0.1, "images differ"
    check_turn(browser.turn(subject, BRIEF))
    check_turn(browser.turn(subject, Load(2, 200, 0.2)))
    assert browser.provider(subject) == "onnxruntime-web wasm"


@pytest.mark.converter
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_litert_answers_as_in_python(
    dtype: str, runtimes: Callable[[Engine], None], browser: BrowserDevice, tmp_path: Path
) -> None:
    subject = litert_artifact(tmp_path / "litert", dtype)
    runtimes("litert")
    pixels = noise(40)
    answers = browser.answers(subject, pixels)
    np.testing.assert_allclose(answers, expected(pixels), rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers, native(subject, pixels), rtol=0, atol=1e-5)
    check_turn(browser.turn(subject, BRIEF))
    check_turn(browser.turn(subject, Load(2, 200, 0.2)))
    assert browser.provider(subject) == "LiteRT.js wasm"


def test_webgpu_answers_as_in_python_or_is_refused(runtimes: Callable[[Engine], None], tmp_path: Path) -> None:
    runtimes("onnxruntime")
    subject, pixels = onnx_artifact(tmp_path / "onnx-fp32"), noise(3)
    with device_at("browser://chromium?accelerator=webgpu") as connected:
        info = connected.open()
        assert connected.provider(subject) == "onnxruntime-web webgpu"
        if any(note.startswith("WebGPU adapter: ") for note in info.notes):
            np.testing.assert_allclose(connected.answers(subject, pixels), expected(pixels), rtol=0, atol=1e-3)
        else:
            with pytest.raises(MlkdcError, match="the browser has no WebGPU adapter"):
                connected.answers(subject, pixels)


def test_a_file_that_cannot_be_run_is_said_and_the_next_one_runs(
    runtimes: Callable[[Engine], None], browser: BrowserDevice, tmp_path: Path
) -> None:
    runtimes("onnxruntime")
    with pytest.raises(MlkdcError, match=r"onnxruntime-web cannot load broken \(.*\)"):
        browser.turn(broken_artifact(tmp_path / "broken"), BRIEF)
    changed = onnx_artifact(tmp_path / "changed")
    content = (changed.folder / "model.onnx").read_bytes()
    (changed.folder / "model.onnx").write_bytes(content[:-1] + b"x")
    with pytest.raises(MlkdcError, match=r"cannot load changed .*SHA-256 differs"):
        browser.turn(changed, BRIEF)
    (changed.folder / "model.onnx").write_bytes(content[:-1])
    with pytest.raises(
        MlkdcError, match=rf"cannot load changed \({len(content) - 1} of {len(content)} bytes arrived\)"
    ):
        browser.turn(changed, BRIEF)
    check_turn(browser.turn(onnx_artifact(tmp_path / "<img src=x onerror=close()>"), BRIEF))


def test_more_images_for_an_artifact_need_no_loading_but_a_turn_does(
    runtimes: Callable[[Engine], None], browser: BrowserDevice, tmp_path: Path
) -> None:
    runtimes("onnxruntime")
    subject, other, pixels = onnx_artifact(tmp_path / "one"), onnx_artifact(tmp_path / "two", "NHWC"), noise(5)
    model = subject.folder / "model.onnx"
    for turn in range(3):
        np.testing.assert_allclose(browser.answers(subject, pixels), expected(pixels), rtol=0, atol=1e-5)
        if turn == 0:
            model.rename(tmp_path / "away")
    np.testing.assert_allclose(browser.answers(other, pixels), expected(pixels), rtol=0, atol=1e-5)
    (tmp_path / "away").rename(model)
    check_turn(browser.turn(subject, BRIEF))
    np.testing.assert_allclose(browser.answers(subject, pixels), expected(pixels), rtol=0, atol=1e-5)
    model.unlink()
    with pytest.raises(DeviceLost, match="the server of the page failed"):
        browser.turn(subject, BRIEF)


def test_a_manifest_that_says_something_else_than_the_file(
    runtimes: Callable[[Engine], None], browser: BrowserDevice, tmp_path: Path
) -> None:
    runtimes("onnxruntime")
    subject = onnx_artifact(tmp_path / "onnx-fp32")
    other = subject.manifest.input.model_copy(update={"name": "picture"})
    renamed = Subject(subject.folder, subject.manifest.model_copy(update={"input": other}))
    with pytest.raises(MlkdcError, match="the file takes image, the manifest says picture"):
        browser.turn(renamed, BRIEF)


def test_a_runtime_that_does_not_start(tmp_path: Path) -> None:
    modules = tmp_path / "node_modules"
    for package in PACKAGES["onnxruntime"]:
        for name in package.files:
            path = modules / package.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{"version": "1.0.0"}')
    with device_at(f"browser://chromium?web_runtime={modules}") as connected:
        assert connected.open().versions["onnxruntime-web"] == "1.0.0"
        with pytest.raises(MlkdcError, match=r"onnxruntime-web cannot be started in this browser \(.*\)"):
            connected.turn(onnx_artifact(tmp_path / "onnx-fp32"), BRIEF)


def test_a_secure_origin_has_threads_and_a_fine_clock(browser: BrowserDevice) -> None:
    with device_at("browser://chromium") as connected:
        info = connected.open()
    assert not any("secure" in note or "isolated" in note for note in info.notes)
    step = next(note for note in info.notes if note.startswith("clock: steps of "))
    assert int(step.split()[3]) <= 10
    assert info.machine.cores == os.cpu_count()


def test_an_insecure_origin_has_one_thread_and_says_so(
    runtimes: Callable[[Engine], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtimes("onnxruntime")
    rule = f"--host-resolver-rules=MAP {UNTRUSTED} 127.0.0.1"
    monkeypatch.setattr(chromium, "OPTIONS", (*chromium.OPTIONS, rule))
    monkeypatch.setattr("mlkdc.devices.browser.device.reachable_host", lambda host: UNTRUSTED)
    with device_at("browser://chromium") as connected:
        notes = connected.open().notes
        assert any("not a secure context" in note for note in notes)
        assert "clock: steps of 100 us" in notes
        subject = onnx_artifact(tmp_path / "onnx-fp32")
        turn = connected.turn(subject, BRIEF)
        check_turn(turn)
        assert turn.runs > len(turn.samples_us), "too short for this clock: several calls a sample"
        pixels = noise(3)
        np.testing.assert_allclose(connected.answers(subject, pixels), expected(pixels), rtol=0, atol=1e-5)
        with pytest.raises(MlkdcError, match="not a secure context"):
            connected.turn(subject, Load(threads=2))


def test_bench_as_it_is_typed(runtimes: Callable[[Engine], None], tmp_path: Path) -> None:
    runtimes("onnxruntime")
    subject = onnx_artifact(tmp_path / "run" / "export" / "onnx-fp32")
    pixels = noise(32)
    probabilities = expected(pixels).astype(np.float32)
    KnownAnswers(pixels, probabilities, np.zeros(probabilities.shape, np.uint8)).save(tmp_path / "run")
    options = ["--device", "browser://chromium", "--passes", "2", "--seconds", "0.2", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "mlkdc", "bench", str(subject.folder), *options, "--out", str(tmp_path / "bench.json")],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = BenchFile.load_from(tmp_path / "bench.json")
    assert "onnxruntime-web" in figures.devices["browser://chromium"].versions
    (row,) = figures.rows
    assert row.accuracy is not None
    assert row.accuracy.images == 32
    assert row.accuracy.max_probability_difference < 1e-5
    assert [turn.runs >= 200 for turn in row.turns] == [True, True]
    assert not figures.lost


def test_chromium_is_stopped_and_its_profile_removed() -> None:
    connected = device_at("browser://chromium")
    connected.open()
    started = connected._chromium
    assert started is not None
    assert started._profile.is_dir()
    connected.close()
    assert not started._profile.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(started._process.pid, 0)
    connected.close()


def test_a_browser_that_dies_in_the_middle_is_lost(
    runtimes: Callable[[Engine], None], browser: BrowserDevice, tmp_path: Path
) -> None:
    runtimes("onnxruntime")
    started = browser._chromium
    assert started is not None
    started._process.kill()
    with pytest.raises(DeviceLost, match=r"Chromium ended with exit code -9 \("):
        browser.turn(onnx_artifact(tmp_path / "onnx-fp32"), BRIEF)


def close_tabs_of(started: Chromium, name: str) -> None:
    """As a user does, through Chromium's debugging port; another tab keeps it running."""
    port = (started._profile / "DevToolsActivePort").read_text().split()[0]
    connection = HTTPConnection("127.0.0.1", int(port), timeout=10)

    def ask(method: str, path: str) -> bytes:
        connection.request(method, path)
        return connection.getresponse().read()

    ask("PUT", "/json/new?about:blank")
    for tab in json.loads(ask("GET", "/json/list")):
        if tab["title"] == name:
            ask("GET", f"/json/close/{tab['id']}")
    connection.close()


def test_a_second_page_is_refused_and_a_closed_one_lost(
    runtimes: Callable[[Engine], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtimes("onnxruntime")
    monkeypatch.setattr(chromium, "OPTIONS", (*chromium.OPTIONS, "--remote-debugging-port=0"))
    opened: list[Chromium] = []

    def invite(text: str) -> None:
        if text.strip().startswith("http://"):
            opened.append(Chromium(text.strip(), webgpu=False))

    with ExitStack() as stack:
        connected = stack.enter_context(device_at("browser://?wait=60", say=invite))
        connected.open()
        stack.callback(opened[0].close)
        assert isinstance(connected, BrowserDevice)
        server = connected._server
        assert server is not None
        assert FakePage(server.url("127.0.0.1")).hello() == 409
        check_turn(connected.turn(onnx_artifact(tmp_path / "onnx-fp32"), BRIEF))
        start = time.monotonic()
        Timer(1.0, close_tabs_of, (opened[0], "mlkdc bench")).start()
        with pytest.raises(DeviceLost, match="page was closed or reloaded"):
            connected.turn(onnx_artifact(tmp_path / "again"), Load(1, 200, 60))
        assert time.monotonic() - start < 15


OPEN = """
import time
from mlkdc.devices.urls import device_at
device = device_at("browser://chromium")
device.open()
print(device._chromium._process.pid, device._chromium._profile, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_chromium_ends_by_itself_where_mlkdc_was_killed() -> None:
    killed = subprocess.Popen([sys.executable, "-c", OPEN], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    pid, profile = killed.stdout.readline().split()
    killed.kill()
    killed.communicate()
    deadline = time.monotonic() + 60
    while is_running(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.5)
    ended = not is_running(int(pid))
    if not ended:
        os.kill(int(pid), signal.SIGTERM)
    shutil.rmtree(profile, ignore_errors=True)
    assert ended


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie, which it stays where no one waits for orphans."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_chromium_that_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\necho first >&2\necho no sandbox here >&2\nexit 7\n")
    program.chmod(0o755)
    monkeypatch.setattr(chromium, "PROGRAMS", (str(program),))
    with (
        device_at("browser://chromium") as connected,
        pytest.raises(DeviceLost, match=r"Chromium ended with exit code 7 \(no sandbox here\)"),
    ):
        connected.open()


def test_without_a_chromium_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chromium, "PROGRAMS", ("no-such-chromium",))
    with (
        device_at("browser://chromium") as connected,
        pytest.raises(UsageError, match="found no Chromium: none of no-such-chromium is on the PATH"),
    ):
        connected.open()
