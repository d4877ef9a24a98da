"""The device with a fake page: what becomes of its replies, and of a page that goes away or sends nonsense."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fake_page import TURN, FakePage, Invited
from tiny_artifacts import CLASSES, noise, onnx_artifact

from mlkdc.devices.base import DeviceLost, Load, Subject
from mlkdc.devices.browser import BrowserDevice, device, exchange
from mlkdc.devices.browser.address import parse_address
from mlkdc.devices.urls import device_at
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.manifest import describe_files
from mlkdc.runtime.timing import KEPT_SAMPLES

LOAD = Load(threads=1, least_runs=200, least_seconds=0.5)


@pytest.fixture(autouse=True)
def no_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake page loads none, so none is fetched."""
    monkeypatch.setattr(device, "find_runtime", lambda engine, folder, say: {})


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return onnx_artifact(tmp_path / "onnx-fp32")


def replying(*replies: object) -> Callable[[FakePage], None]:
    """A page that sends these replies, one per job; a function makes one from (page, job)."""

    def behave(page: FakePage) -> None:
        page.hello()
        for reply in replies:
            job = page.job()
            value = reply(page, job) if callable(reply) else reply
            page.post(f"reply?job={job['id']}", value)

    return behave


def opened(behave: Callable[[FakePage], None], url: str = "browser://?wait=20") -> BrowserDevice:
    connected = BrowserDevice(url, Invited(behave).say)
    connected.open()
    return connected


def test_a_file_that_says_otherwise_than_its_manifest_is_not_sent(subject: Subject, tmp_path: Path) -> None:
    import onnx

    path = subject.folder / "model.onnx"
    model = onnx.load(str(path))
    reversed_classes = json.dumps(subject.manifest.classes[::-1])
    model.metadata_props.add(key="classes", value=reversed_classes)
    onnx.save(model, str(path))
    files = describe_files(subject.folder, ["model.onnx"])
    changed = Subject(subject.folder, subject.manifest.model_copy(update={"files": files}))
    # A page that is given a job would fail: it replies to none.
    connected = opened(replying())
    with connected:
        for job in (lambda: connected.turn(changed, LOAD), lambda: connected.answers(changed, noise(1))):
            with pytest.raises(UsageError, match="the manifest is not that of the model file: entry 1 of classes"):
                job()


def test_what_it_says_of_itself() -> None:
    listener = Invited(replying())
    with BrowserDevice("browser", listener.say) as connected:
        info = connected.open()
    assert "open this address" in listener.said[0]
    assert (info.url, info.machine.cpu, info.machine.cores, info.machine.memory_gib) == ("browser", "Phone 9", 8, 4)
    assert info.machine.system == "Android 16"
    assert info.versions["Chromium"] == "156.0.1.2"
    assert info.versions["LiteRT.js"] == "2.5.3"
    assert "clock: steps of 5 us" in info.notes
    assert not any("secure" in note for note in info.notes)


@pytest.mark.parametrize(
    ("agent", "name", "version"),
    [
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 26_0) AppleWebKit/605 Version/26.1 Mobile Safari/604.1", "Safari", "26.1"),
        ("Mozilla/5.0 (Android 16; Mobile; rv:150.0) Gecko/150.0 Firefox/150.0", "Firefox", "150.0"),
        ("Mozilla/5.0 AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36 Edg/156.0.1.0", "Edge", "156.0.1.0"),
    ],
)
def test_the_browser_is_named(agent: str, name: str, version: str) -> None:
    with BrowserDevice("browser", Invited(lambda page: assert_ok(page.hello(user_agent=agent))).say) as connected:
        assert connected.open().versions[name] == version


def assert_ok(status: int) -> None:
    assert status == 200


def test_a_turn_has_the_figures_of_its_samples(subject: Subject) -> None:
    samples = np.random.default_rng(0).uniform(1, 3, 900)
    jobs = []

    def reply(page: FakePage, job: dict[str, object]) -> object:
        jobs.append((job, page.get("pixels?start=0&count=1")[1], page.get(f"artifact/{job['sha256']}")[1]))
        return {**TURN, "samples_ms": samples.tolist(), "calls_per_sample": 4}

    with opened(replying(reply)) as connected:
        turn = connected.turn(subject, LOAD)
    assert turn.median_ms == pytest.approx(np.median(samples))
    assert turn.p90_ms == pytest.approx(np.quantile(samples, 0.9))
    assert turn.min_ms == samples.min()
    assert turn.drift == pytest.approx(np.median(samples[600:]) / np.median(samples[:300]))
    assert (turn.runs, turn.warmup_runs, turn.load_ms, turn.first_ms) == (3600, 41, 30.0, 20.0)
    assert len(turn.samples_us) == KEPT_SAMPLES
    assert turn.samples_us[0] == round(1000 * samples[0])
    job, pixels, artifact = jobs[0]
    assert (job["kind"], job["threads"], job["plan"]["least_seconds"]) == ("turn", 1, 0.5)
    assert len(pixels) == 3 * 8 * 8
    assert artifact == (subject.folder / "model.onnx").read_bytes()


def test_answers_have_their_shape(subject: Subject) -> None:
    values = np.random.default_rng(0).random((70, CLASSES), dtype=np.float32)
    with opened(replying({"kind": "answers", "answers": values.ravel().tolist()})) as connected:
        answers = connected.answers(subject, noise(70))
    assert answers.dtype == np.float32
    np.testing.assert_array_equal(answers, values)


def test_answers_that_are_not_numbers_are_this_artifacts_fault_alone(subject: Subject) -> None:
    # JSON.stringify makes null of NaN.
    with opened(replying({"kind": "answers", "answers": [0.5, None, 0.1]}, TURN)) as connected:
        np.testing.assert_array_equal(connected.answers(subject, noise(1)), np.float32([[0.5, np.nan, 0.1]]))
        assert connected.turn(subject, LOAD).runs == 300


def test_a_job_that_did_not_arrive_is_given_again(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "STUCK_SECONDS", 3.0)

    def asking_twice(page: FakePage) -> None:
        page.hello()
        lost = page.job()
        job = page.job()
        assert job == lost
        page.post(f"reply?job={job['id']}", TURN)
        # None is given that was replied to.
        assert page.job()["id"] == job["id"] + 1
        page.post(f"reply?job={job['id'] + 1}", TURN)

    with opened(asking_twice) as connected:
        assert connected.turn(subject, LOAD).runs == 300
        assert connected.turn(subject, LOAD).runs == 300


def test_too_few_answers_are_refused(subject: Subject) -> None:
    with (
        opened(replying({"kind": "answers", "answers": [0.5] * 5})) as connected,
        pytest.raises(MlkdcError, match="gave 5 probabilities, expected 2 x 3"),
    ):
        connected.answers(subject, noise(2))


@pytest.mark.parametrize(
    ("stage", "sentence"),
    [
        ("runtime", r"onnxruntime-web cannot be started in this browser \(no SIMD\); try a newer one"),
        ("artifact", r"onnxruntime-web cannot load onnx-fp32 \(no SIMD\)"),
        ("run", r"onnxruntime-web failed while it ran onnx-fp32 \(no SIMD\)"),
    ],
)
def test_a_failure_is_one_sentence_and_the_next_turn_goes_on(subject: Subject, stage: str, sentence: str) -> None:
    with opened(replying({"kind": "failed", "stage": stage, "message": "no\nSIMD"}, TURN)) as connected:
        with pytest.raises(MlkdcError, match=sentence) as caught:
            connected.turn(subject, LOAD)
        assert not isinstance(caught.value, DeviceLost)
        assert connected.turn(subject, LOAD).runs == 300


def test_a_page_in_the_background_is_not_believed(subject: Subject) -> None:
    hidden = {**TURN, "hidden": True}
    with opened(replying(hidden, hidden, TURN, hidden, hidden, hidden, TURN)) as connected:
        assert connected.turn(subject, LOAD).runs == 300, "it came back in time"
        with pytest.raises(MlkdcError, match="the page was in the background while it measured, 3 times; keep it in"):
            connected.turn(subject, LOAD)
        assert connected.turn(subject, LOAD).runs == 300


def test_a_page_that_measured_too_little_is_not_believed(subject: Subject) -> None:
    few = {**TURN, "samples_ms": [1.0] * 199, "calls_per_sample": 4}
    with (
        opened(replying(few)) as connected,
        pytest.raises(MlkdcError, match="the page timed 199 samples, expected at least 200"),
    ):
        connected.turn(subject, LOAD)


@pytest.mark.parametrize(
    "change",
    [
        {"samples_ms": []},
        {"samples_ms": [1e308] * 300},
        {"calls_per_sample": 10**400},
        {"samples_ms": [1.0, -1.0, 1.0]},
        {"samples_ms": [1.0, None, 1.0]},
        {"samples_ms": "<b>fast</b>"},
        {"warmup_runs": 0},
        {"kind": "lies"},
        {"surprise": 1},
    ],
)
def test_a_page_that_sends_nonsense_is_lost(subject: Subject, change: dict[str, object]) -> None:
    with (
        opened(replying({**TURN, **change})) as connected,
        pytest.raises(DeviceLost, match="sent a reply that cannot be used"),
    ):
        connected.turn(subject, LOAD)


def test_an_answer_to_another_question_is_refused(subject: Subject) -> None:
    with opened(replying(TURN)) as connected, pytest.raises(DeviceLost, match="another question"):
        connected.answers(subject, noise(1))


def test_a_page_that_is_closed_in_the_middle_is_lost(subject: Subject) -> None:
    def leave(page: FakePage) -> None:
        page.hello()
        page.job()
        page.post("bye", None)

    with opened(leave) as connected:
        with pytest.raises(DeviceLost, match="closed or reloaded"):
            connected.turn(subject, LOAD)
        with pytest.raises(DeviceLost, match="closed or reloaded"):
            connected.turn(subject, LOAD)


def test_a_page_that_falls_silent_is_lost(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "SILENT_SECONDS", 0.5)
    with (
        opened(lambda page: page.hello() and page.job() and None) as connected,
        pytest.raises(DeviceLost, match="said nothing for"),
    ):
        connected.turn(subject, LOAD)


def test_a_worker_that_is_stuck_is_noticed(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "STUCK_SECONDS", 1.0)

    def stuck(page: FakePage) -> None:
        page.hello()
        page.job()
        # The test may be over before this.
        with suppress(OSError):
            while page.post("alive", {"messages": 3}) == 200:
                time.sleep(0.05)

    with opened(stuck) as connected:
        with pytest.raises(MlkdcError, match="nothing happened in the page for") as caught:
            connected.turn(subject, LOAD)
        assert not isinstance(caught.value, DeviceLost), "the artifact is at fault"
        with pytest.raises(DeviceLost, match="stuck in an earlier artifact"):
            connected.turn(subject, LOAD)


def test_a_slow_worker_that_advances_is_waited_for(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "STUCK_SECONDS", 1.0)

    def slow(page: FakePage, job: dict[str, object]) -> object:
        for messages in range(1, 30):
            assert page.post("alive", {"messages": messages}) == 200
            time.sleep(0.1)
        return TURN

    with opened(replying(slow)) as connected:
        assert connected.turn(subject, LOAD).runs == 300


def test_nobody_comes() -> None:
    with (
        device_at("browser://?wait=1") as connected,
        pytest.raises(DeviceLost, match="no page connected within 1 s; open the address"),
    ):
        connected.open()


def test_more_than_the_origin_allows_is_refused(subject: Subject) -> None:
    def insecure(page: FakePage) -> None:
        page.hello(secure=False, isolated=False, clock_step_ms=0.1)

    with (
        opened(insecure) as connected,
        pytest.raises(
            MlkdcError, match=r"4 threads .*, and plain http .*; open the page as localhost .*, or use --threads 1"
        ),
    ):
        connected.turn(subject, Load(threads=4))
    with (
        opened(lambda page: assert_ok(page.hello(isolated=False))) as connected,
        pytest.raises(MlkdcError, match=r"not cross-origin isolated: .*; try another browser, or use --threads 1"),
    ):
        connected.turn(subject, Load(threads=4))
    with (
        opened(insecure, "browser://?accelerator=webgpu") as connected,
        pytest.raises(
            MlkdcError, match=r"WebGPU was asked for, and plain http .*; open the page as localhost .* proxy of yours$"
        ),
    ):
        connected.turn(subject, LOAD)
    with (
        opened(lambda page: assert_ok(page.hello()), "browser://?accelerator=webgpu") as connected,
        pytest.raises(MlkdcError, match="WebGPU was asked for, and the browser has no WebGPU adapter"),
    ):
        connected.turn(subject, LOAD)


def test_what_no_browser_runs_is_skipped(subject: Subject) -> None:
    other = Subject(subject.folder, subject.manifest.model_copy(update={"runtime": "ncnn", "target": "ncnn"}))
    with opened(replying()) as connected:
        with pytest.raises(MlkdcError, match="no browser runs ncnn artifacts; export to litert"):
            connected.turn(other, LOAD)
        assert connected.provider(subject) == "onnxruntime-web wasm"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("browser://[x", "is no browser: expected browser, browser://chromium"),
        ("browser+adb://[a", "is no browser"),
        ("foo://[x", "unknown device 'foo://"),
        ("browser-x", "unknown device"),
        ("browser://firefox", "is no browser: expected browser, browser://chromium"),
        ("browser://chromium/page", "is no browser"),
        ("browser+adb://", "names no phone"),
        ("browser://?hots=0.0.0.0", "has no option 'hots'; did you mean host"),
        ("browser://?port", "expected options as"),
        ("browser://?port=70000", "expected a number below 65536"),
        ("browser://?accelerator=gpu", "expected wasm or webgpu"),
        ("browser://?wait=0", "expected the seconds to wait"),
    ],
)
def test_wrong_addresses(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        device_at(url)


def test_the_folder_of_runtimes_is_that_of_the_address_else_that_of_the_option(tmp_path: Path) -> None:
    for name, version in {"named": "1.0", "option": "2.0"}.items():
        (tmp_path / name / "onnxruntime-web").mkdir(parents=True)
        (tmp_path / name / "onnxruntime-web/package.json").write_text(f'{{"version": "{version}"}}')
    for url, version in {f"browser?web_runtime={tmp_path / 'named'}": "1.0", "browser": "2.0"}.items():
        listener = Invited(lambda page: assert_ok(page.hello()))
        with device_at(url, say=listener.say, web_runtime=tmp_path / "option") as connected:
            assert connected.open().versions["onnxruntime-web"] == version


def test_right_addresses() -> None:
    address = parse_address("browser://chromium?accelerator=webgpu&port=8000&web_runtime=/x/node_modules")
    assert (address.chromium, address.accelerator, address.port) == (True, "webgpu", 8000)
    assert address.web_runtime == Path("/x/node_modules")
    assert parse_address("browser?host=0.0.0.0").host == "0.0.0.0"
    assert parse_address("browser+adb://ABC123").adb_serial == "ABC123"
