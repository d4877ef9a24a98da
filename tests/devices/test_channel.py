"""This side of the pipe: what answers may be slow, at work, or no agent at all."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlkdc.agent.frames import MAGIC, Frame, packed
from mlkdc.devices import Load, Subject
from mlkdc.devices.agent import AgentDevice, lost
from mlkdc.devices.base import DeviceLost
from mlkdc.devices.bootstrap import START
from mlkdc.devices.channel import Channel, _skip_chatter
from mlkdc.devices.local import LocalDevice
from mlkdc.errors import MlkdcError
from mlkdc.records.manifest import Manifest


def speaking(text: str) -> list[str]:
    """A program that runs this code, and goes on for a while without another word."""
    code = f"import sys, time\nout = sys.stdout.buffer\n{text}\nout.flush()\ntime.sleep(60)"
    return [sys.executable, "-c", code]


NONSENSE = {
    "a web page": b"<html>" * 20_000,
    "no lengths": MAGIC + b"x" * 22,
    "huge lengths": MAGIC + b"%010d %010d\n" % (9_999_999_999, 0),
    "a huge file": MAGIC + b"%010d %010d\n" % (2, 9_999_999_999) + b"{}",
    "a negative length": MAGIC + b"%010d %010d\n" % (-5, 0),
    "no JSON": MAGIC + b"%010d %010d\n" % (3, 0) + b"abc",
    "no object": MAGIC + b"%010d %010d\n" % (2, 0) + b"17",
    "an object of something else": MAGIC + packed(Frame({"folder": 1})),
}


@pytest.mark.parametrize("sent", NONSENSE.values(), ids=NONSENSE.keys())
def test_what_sends_nonsense_and_does_not_end_is_lost_at_once(sent: bytes) -> None:
    start = time.monotonic()
    with (
        pytest.raises(DeviceLost, match=r"fake was lost: .* mlkdc's agent"),
        AgentDevice("fake", speaking(f"sys.stdin.buffer.read(10); out.write({sent!r})")) as device,
    ):
        device.open()
    assert time.monotonic() - start < 20


HELLO = {
    "folder": "/tmp/mlkdc-x",
    "archive": "/tmp/mlkdc-x/agent.pyz",
    "agent_sha256": "0" * 64,
    "system": {"cpu": "made \x1b[2J up", "cores": 4, "system": "Linux"},
    "libc": None,
    "python": "3.12.1",
    "versions": {"python": "3.12.1", "numpy": "2.0"},
    "free_mib": 100.0,
    "celsius": None,
    "schedstat": True,
    "removed": 0,
}


def answering(*answers: dict) -> AgentDevice:
    """An agent that gives these answers whatever it is asked, one more to the goodbye, and ends."""
    sent = MAGIC + b"".join(packed(Frame(answer)) for answer in (*answers, {}))
    code = f"import sys\nsys.stdout.buffer.write({sent!r})\nsys.stdout.flush()\nsys.stdin.buffer.read()"
    return AgentDevice("fake", [sys.executable, "-c", code])


def test_what_steers_a_terminal_does_not_reach_it() -> None:
    with answering(HELLO, {"error": "no \x1b]0;title\x07 room"}) as device:
        assert device.open().machine.cpu == "made \ufffd[2J up"
        with pytest.raises(MlkdcError, match=r"^fake: no \ufffd]0;title\ufffd room$"):
            device.run(["-c", "pass"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"celsius": "hot"}, "celsius"),
        ({"celsius": float("inf")}, "celsius"),
        ({"free_mib": float("nan")}, "free_mib"),
        ({"versions": ["numpy"]}, "versions"),
        ({"system": {"cpu": 3, "cores": "many"}}, r"system\.cpu"),
        ({"system": {**HELLO["system"], "memory_gib": float("nan")}}, r"system\.memory_gib"),
        ({"python": None}, "python"),
        ({"sudo": True}, "unknown key sudo"),
    ],
)
def test_a_device_that_describes_itself_in_nonsense_is_lost(change: dict, says: str) -> None:
    with (
        pytest.raises(DeviceLost, match=f"it does not answer as mlkdc's agent does \\(.*{says}"),
        answering({**HELLO, **change}) as device,
    ):
        device.open()


@pytest.mark.parametrize("done", [{}, {"returncode": "no", "stdout": "", "stderr": ""}, {"returncode": 0, "stdout": 1}])
def test_a_command_that_ends_in_nonsense(done: dict) -> None:
    with answering(HELLO, done) as device:
        device.open()
        with pytest.raises(DeviceLost, match="it does not answer as mlkdc's agent does"):
            device.run(["-c", "pass"])


def test_signs_of_life_without_an_answer_are_not_waited_for_forever() -> None:
    beat = packed(Frame({"beat": True}))
    code = (
        f"import sys, time\nout = sys.stdout.buffer\nout.write({MAGIC!r})\n"
        f"for _ in range(600):\n    out.write({beat!r}); out.flush(); time.sleep(0.1)"
    )
    channel = Channel("beating", [sys.executable, "-c", code], lost("beating"))
    try:
        with pytest.raises(DeviceLost, match="beating was lost: it has not answered within 1 s"):
            channel.ask("run", limit_seconds=1)
    finally:
        channel._process.kill()
        channel.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"runs": -5}, "the worker printed no result"),
        ({"minute_ms": [0, 1]}, "the worker printed no result"),
        ({"median_ms": 5e-324}, "the worker printed no result"),
        ({"runs": 199}, "the worker timed 199 calls, expected at least 200"),
    ],
)
def test_a_turn_that_cannot_have_been(change: dict, says: str) -> None:
    turn = {"median_ms": 1, "p90_ms": 1, "min_ms": 1, "runs": 200, "warmup_runs": 1, "settled": True}
    with answering(HELLO, {"returncode": 0, "stdout": json.dumps({**turn, **change}), "stderr": ""}) as device:
        device.open()
        with pytest.raises(MlkdcError, match=says):
            device.timed(["time"], Load(threads=1))


def test_a_device_that_cannot_be_claimed_is_lost() -> None:
    with answering(HELLO, {"error": "Read-only file system"}) as device:
        device.open()
        with pytest.raises(DeviceLost, match="fake was lost: fake: Read-only file system"):
            device.claim()


def test_the_start_is_when_the_device_is_claimed() -> None:
    """Another measurement heats it until then."""
    busy, free = {"claimed": False, "celsius": 75.0}, {"claimed": True, "celsius": 48.0}
    with answering({**HELLO, "celsius": 70.0}, busy, free, {"claimed": True, "celsius": "hot"}) as device:
        device.open()
        assert (device.start_celsius, device.claim(), device.start_celsius) == (70, False, 70)
        assert (device.claim(), device.start_celsius) == (True, 48)
        with pytest.raises(DeviceLost, match=r"it does not answer as mlkdc's agent does \(.*celsius"):
            device.claim()


@pytest.mark.parametrize("median", ["NaN", "Infinity", "-1", "1e300", '"fast"', "null"])
def test_times_that_are_none_are_no_turn(median: str) -> None:
    times = f'"median_ms": {median}, "p90_ms": 1, "min_ms": 1, "runs": 200, "warmup_runs": 1, "settled": true'
    with answering(HELLO, {"returncode": 0, "stdout": f"{{{times}}}", "stderr": ""}) as device:
        device.open()
        with pytest.raises(MlkdcError, match="the worker printed no result"):
            device.timed(["time"], Load(threads=1))


def test_an_answer_that_takes_longer_than_a_silence_may_is_waited_for() -> None:
    frame = packed(Frame({}, b"x" * 60))
    code = f"out.write({MAGIC!r})\nfor byte in {frame!r}:\n    out.write(bytes([byte])); out.flush(); time.sleep(0.03)"
    channel = Channel("slow", speaking(code), lost("slow"))
    try:
        assert channel.ask("get", timeout_seconds=1).blob == b"x" * 60
    finally:
        channel._process.kill()
        channel.close()


def test_a_file_that_arrives_slowly_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    folder.mkdir()
    code = (
        "import sys\nfrom pathlib import Path\nfrom mlkdc.agent import serve\n"
        "serve.SILENCE_SECONDS, serve.BEAT_SECONDS = 1.5, 0.1\n"
        "serve.Agent(Path(sys.argv[1]), Path(sys.argv[1])).serve()\n"
    )
    # While it is sent, nothing else is: not even a sign of life.
    frame = packed(Frame({"do": "get", "path": "none"}, b"x" * 100))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as agent:
        for start in range(0, len(frame), 5):
            agent.stdin.write(frame[start : start + 5])
            time.sleep(0.1)
        agent.stdin.write(packed(Frame({"do": "bye"})))
        printed = agent.stdout.read()
    assert b"No such file" in printed
    assert not folder.exists()


@pytest.mark.parametrize("to_all", [True, False], ids=["Ctrl-C", "a signal to mlkdc alone"])
def test_an_interruption_in_the_middle_leaves_nothing_and_waits_for_nothing(to_all: bool) -> None:
    code = (
        # What a shell starts in the background ignores the signal, and so does all that this starts.
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mlkdc.devices import LocalDevice\n"
        "with LocalDevice() as device:\n"
        "    device.open()\n    print(device.folder, flush=True)\n"
        "    device.run(['-c', 'import time; time.sleep(40)'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as host:
        folder = Path(host.stdout.readline().strip())
        time.sleep(1)
        if to_all:
            os.killpg(host.pid, signal.SIGINT)
        else:
            os.kill(host.pid, signal.SIGINT)
        host.wait(timeout=20)
    assert not folder.exists()


def test_an_agent_that_fails_leaves_nothing() -> None:
    with LocalDevice() as device:
        device.open()
        folder = Path(device.folder)
        with pytest.raises(DeviceLost, match="local was lost: ValueError"):
            device.run(["-c", "pass"], timeout_seconds=float("nan"))
        assert not folder.exists()


def failing(tmp_path: Path, how: str) -> AgentDevice:
    """An agent that fails before it serves, with this folder for temporary files."""
    code = f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}\n{START.replace('from mlkdc', f'{how}; from mlkdc')}"
    return AgentDevice("failing", [sys.executable, "-c", code])


def test_an_agent_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    with (
        failing(tmp_path, "raise ImportError('no such module')") as device,
        pytest.raises(DeviceLost, match="failing was lost: ImportError: no such module"),
    ):
        device.open()
    assert list(tmp_path.iterdir()) == []


def test_an_error_right_after_the_first_word_is_not_taken_for_a_login_scripts(tmp_path: Path, monkeypatch) -> None:
    def late(read) -> None:
        _skip_chatter(read)
        time.sleep(1)

    monkeypatch.setattr("mlkdc.devices.channel._skip_chatter", late)
    with (
        failing(tmp_path, "sys.exit('no such module')") as device,
        pytest.raises(DeviceLost, match="failing was lost: no such module"),
    ):
        device.open()


def test_answers_that_are_no_array(make_artifact, images, monkeypatch) -> None:
    folder = make_artifact()
    with LocalDevice() as device:
        device.open()
        ask = device._channel.ask

        def garbled(do: str, *rest, **values) -> Frame:
            if do == "get":
                return Frame({}, b"<html>")
            return ask(do, *rest, **values)

        monkeypatch.setattr(device._channel, "ask", garbled)
        with pytest.raises(MlkdcError, match="its answers are no array: b'<html>'"):
            device.answers(Subject(folder, Manifest.load(folder)), images)
