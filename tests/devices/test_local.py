"""The agent over a pipe of this machine: what it does, says, refuses, and leaves behind."""

import ast
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from waiting import vanished, waited_for

from mlkdc.agent.frames import Frame
from mlkdc.devices import Load, LocalDevice, Subject
from mlkdc.devices.agent import AgentDevice
from mlkdc.devices.base import DeviceLost
from mlkdc.devices.bootstrap import START, archive, start_code
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.manifest import Manifest


@pytest.fixture
def device():
    with LocalDevice() as opened:
        opened.info = opened.open()
        yield opened


def test_it_says_what_it_is(device):
    assert device.info.url == "local"
    assert device.info.python == sys.version.split()[0]
    assert device.info.versions["numpy"] == np.__version__
    assert device.info.machine.cores == len(os.sched_getaffinity(0))
    assert len(device.info.agent_sha256) == 64


def test_a_command_runs_with_the_same_python_and_added_variables(device):
    code = "import os, sys; print(sys.executable, os.environ['MLKDC_X'], 'PATH' in os.environ)"
    done = device.run(["-c", code], environment={"MLKDC_X": "7"})
    assert done.stdout.split() == [sys.executable, "7", str("PATH" in os.environ)]
    assert done.failure is None


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("import sys; sys.exit('first\\nlast')", "last"),
        ("import sys; sys.exit(3)", "the worker ended with exit code 3 and no message"),
        ("import os; os.kill(os.getpid(), 9)", "the worker was killed by signal 9 (SIGKILL)"),
    ],
)
def test_a_failure_is_named(device, code, failure):
    assert device.run(["-c", code]).failure == failure


def test_output_that_is_not_utf8_is_no_error(device):
    done = device.run(["-c", "import sys; sys.stdout.buffer.write(bytes([255, 65]))"])
    assert done.stdout.endswith("A")


def test_what_takes_too_long_is_killed_and_the_device_goes_on(device):
    with pytest.raises(MlkdcError, match=r"took longer than 0\.2 s"):
        device.run(["-c", "import time; time.sleep(60)"], timeout_seconds=0.2)
    assert device.run(["-c", "print(1)"]).stdout == "1\n"


def test_python_that_cannot_be_started():
    with pytest.raises(UsageError, match=r"local: could not start /no/such/python: No such file"):
        LocalDevice("/no/such/python").open()


def test_answers_are_those_of_the_model(device, make_artifact, images, expected):
    folder = make_artifact(dtype="uint8")
    answers = device.answers(Subject(folder, Manifest.load(folder)), images)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, expected(images), atol=1e-6)


def test_a_turn_has_times_memory_and_conditions(device, make_artifact):
    folder = make_artifact()
    turn = device.turn(Subject(folder, Manifest.load(folder)), Load(threads=1, least_runs=200, least_seconds=0.3))
    assert turn.runs >= 200
    assert 0 < turn.min_ms <= turn.median_ms <= turn.p90_ms
    assert turn.load_ms > 0
    assert turn.peak_mib > 10
    assert 0 <= turn.conditions.waited <= 1
    assert np.median(turn.samples_us) == pytest.approx(turn.median_ms * 1000, rel=0.3, abs=2)
    # A second of warm-up, of calls that take microseconds.
    assert turn.warmup_runs > 1000


def test_a_runtime_leaves_nothing_in_the_folder_for_temporary_files(make_artifact, tmp_path, monkeypatch):
    there = tmp_path / "temporary"
    there.mkdir()
    monkeypatch.setenv("TMPDIR", str(there))
    folder = make_artifact()
    with LocalDevice() as opened:
        opened.open()
        assert Path(opened.folder).parent == there
        opened.turn(Subject(folder, Manifest.load(folder)), Load(threads=1, least_seconds=0.1))
    assert list(there.iterdir()) == []


def test_an_artifact_travels_once(device, make_artifact, images, monkeypatch):
    folder = make_artifact()
    subject = Subject(folder, Manifest.load(folder))
    first = device.push(subject)
    (folder / "model.onnx").write_bytes(b"changed")
    assert device.push(subject) == first
    assert len(device.answers(subject, images)) == len(images)


def test_a_missing_runtime_is_a_sentence_and_no_end(device, make_artifact):
    folder = make_artifact(runtime="coreml")
    subject = Subject(folder, Manifest.load(folder))
    with pytest.raises(MlkdcError, match=r"^onnx-fp32 needs macOS"):
        device.turn(subject, Load(threads=1))
    assert device.run(["-c", "print(1)"]).stdout == "1\n"


def test_a_file_that_arrives_damaged_is_refused(device):
    with pytest.raises(MlkdcError, match=r"a\.bin was damaged on its way"):
        device._ask("put", b"content", path="a.bin", sha256="0" * 64)
    assert not (Path(device.folder) / "a.bin").exists()


@pytest.mark.parametrize("path", ["/etc/passwd", "../other"])
def test_no_file_outside_its_folder_is_touched(device, path):
    with pytest.raises(MlkdcError, match="is outside the agent's folder"):
        device._ask("get", path=path)


def test_a_worker_that_prints_no_turn(device):
    with pytest.raises(MlkdcError, match="the worker printed no result: 'hello'"):
        device.timed(["-c", "print('hello')"], Load(threads=1))


def test_a_photo_that_is_damaged_or_gone_is_named_as_on_this_machine(device, make_artifact, tmp_path):
    folder = make_artifact()
    subject = Subject(folder, Manifest.load(folder))
    photo = tmp_path / "beach.jpg"
    photo.write_bytes(b"text")
    with pytest.raises(MlkdcError, match=rf"^{photo}: not an image"):
        device.photos(subject, [photo], 1)
    with pytest.raises(MlkdcError, match=rf"^{tmp_path}/gone.jpg: No such file"):
        device.photos(subject, [tmp_path / "gone.jpg"], 1)


def test_many_calls_and_photos_may_take_longer(device, make_artifact, tmp_path, monkeypatch):
    monkeypatch.setattr("mlkdc.devices.agent.TIMEOUT_SECONDS", 0)
    with pytest.raises(MlkdcError, match="the worker printed no result: 'ended'"):
        device.timed(["-c", "import time; time.sleep(1); print('ended')"], Load(threads=1, least_seconds=0.1))
    photo = tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(photo)
    folder = make_artifact()
    assert device.photos(Subject(folder, Manifest.load(folder)), [photo] * 20, 1).photos == 20


@pytest.mark.parametrize("keep", [False, True])
def test_nothing_is_left_but_what_is_kept(keep):
    device = LocalDevice(keep=keep)
    device.open()
    folder = Path(device.folder)
    assert (folder / "agent.pyz").read_bytes() == archive()
    device.close()
    device.close()
    assert folder.exists() == keep
    if keep:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def test_what_is_kept_stays_also_where_the_device_is_lost(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for lose in (lambda device: device._channel._process.stdin.close(), lambda device: device._channel._process.kill()):
        with LocalDevice(keep=True) as device:
            info = device.open()
            assert f"Its files were kept in {device.folder}." in info.notes
            lose(device)
            with pytest.raises(DeviceLost):
                device.claim()
        with LocalDevice() as other:
            other.open()
        assert Path(device.folder, "agent.pyz").exists()


def test_nothing_is_left_when_this_side_is_killed_in_the_middle(tmp_path):
    code = (
        "import sys\nfrom mlkdc.devices import LocalDevice\n"
        "device = LocalDevice()\ndevice.open()\nprint(device.folder, flush=True)\n"
        "device.run(['-c', 'import os, time; open(sys.argv[1], \"w\").write(str(os.getpid())); time.sleep(60)'\n"
        "            .replace('sys.argv[1]', repr(sys.argv[1]))])\n"
    )
    pid_file = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", code, str(pid_file)], stdout=subprocess.PIPE, text=True) as host:
        folder = Path(host.stdout.readline().strip())
        waited_for(lambda: pid_file.exists() and pid_file.read_text(), seconds=20)
        host.kill()
    assert vanished(folder, seconds=10)
    assert vanished(Path("/proc") / pid_file.read_text(), seconds=10)


def killed(place: Path) -> Path:
    """The folder of an agent that was killed, and whose folder for temporary files was ``place``."""
    command = [sys.executable, "-c", f"import tempfile; tempfile.tempdir = {str(place)!r}; {start_code()}"]
    with AgentDevice("killed", command) as agent:
        agent.open()
        with pytest.raises(DeviceLost, match="was lost"):
            agent.run(["-c", "import os; os.kill(os.getppid(), 9)"])
    return Path(agent.folder)


def test_the_next_agent_removes_what_a_killed_one_left(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with LocalDevice() as alive, LocalDevice(keep=True) as kept:
        alive.open()
        kept.open()
        kept.close()
        other = tmp_path / "mlkdc-of-another-program"
        other.mkdir()
        left = killed(tmp_path)
        assert (left / "agent.pyz").exists()
        with LocalDevice() as device:
            info = device.open()
            assert "Files of 1 earlier measurement that had been killed were removed." in info.notes
            assert not left.exists()
            assert set(tmp_path.iterdir()) == {other, *(Path(each.folder) for each in (alive, kept, device))}
    assert set(tmp_path.iterdir()) == {other, Path(kept.folder)}


def test_one_measurement_at_a_time(monkeypatch):
    # A name of this test's own: another measurement of this machine may be under way.
    name = f"\0mlkdc-test-{os.getpid()}"
    named = f"sys.modules['mlkdc.agent.others'].MEASURING = {name!r}"
    code = START.replace("Agent(Path", f"{named}; Agent(Path")
    command = [sys.executable, "-c", code]
    with AgentDevice("second", command) as second:
        second.open()
        with AgentDevice("first", command) as first:
            first.open()
            assert first.claim()
            assert not second.claim()
            # Its worker does not hold it after its end.
            outliving = "[sys.executable, '-c', 'import time; time.sleep(3)']"
            first.run(["-c", f"import subprocess, sys; subprocess.Popen({outliving})"])
            with pytest.raises(DeviceLost):
                first.run(["-c", "import os; os.kill(os.getppid(), 9)"])
        assert second.claim()
        shutil.rmtree(first.folder)


def test_an_agent_that_hears_nothing_leaves(tmp_path):
    folder = tmp_path / "agent"
    folder.mkdir()
    code = (
        "import sys\nfrom pathlib import Path\nfrom mlkdc.agent import serve\n"
        "serve.SILENCE_SECONDS, serve.BEAT_SECONDS = 0.5, 0.1\n"
        "serve.Agent(Path(sys.argv[1]), Path(sys.argv[1])).serve()\n"
    )
    # Its stdin stays open, as it does when a network stalls.
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as agent:
        assert agent.wait(timeout=20) == 0
    assert not folder.exists()


def test_a_silent_device_is_given_up(device, monkeypatch):
    pid = int(device.run(["-c", "import os; print(os.getppid())"]).stdout)
    monkeypatch.setattr("mlkdc.devices.agent.SILENCE_SECONDS", 0.5)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(DeviceLost, match=r"local has been silent for 0\.5 s"):
            device.run(["-c", "print(1)"])
    finally:
        os.kill(pid, signal.SIGKILL)
        # What is killed cannot clean up.
        shutil.rmtree(device.folder)


def test_a_device_that_takes_no_more_bytes_is_given_up(device, monkeypatch):
    pid = int(device.run(["-c", "import os; print(os.getppid())"]).stdout)
    monkeypatch.setattr("mlkdc.devices.channel.CONNECT_SECONDS", 0.5)
    os.kill(pid, signal.SIGSTOP)
    try:
        # Much more than a pipe holds.
        with pytest.raises(DeviceLost, match=r"local has been silent for 0\.5 s"):
            device._put("large.bin", bytes(2_000_000))
    finally:
        shutil.rmtree(device.folder)


def test_a_killed_agent_is_a_lost_device(device):
    with pytest.raises(DeviceLost, match="local was lost: exit code -9"):
        device.run(["-c", "import os; os.kill(os.getppid(), 9)"])
    shutil.rmtree(device.folder)


def test_what_a_login_script_prints_does_not_matter():
    command = ["sh", "-c", f'echo "welcome to kitchen"; exec {sys.executable} -c "{start_code()}"']
    with AgentDevice("chatty", command) as chatty:
        assert chatty.open().url == "chatty"


def test_a_program_that_is_no_agent():
    with (
        pytest.raises(DeviceLost, match="quiet was lost: no such thing"),
        AgentDevice("quiet", ["sh", "-c", "cat > /dev/null & echo no such thing >&2; exit 3"]) as quiet,
    ):
        quiet.open()


def test_an_old_python_says_so():
    parsed = ast.parse(START, feature_version=(3, 7))
    assert parsed.body
    code = f"import sys; sys.version_info = (3, 8, 0); {start_code()}"
    with (
        pytest.raises(UsageError, match=r"expected Python 3\.10 or later there, .* is 3\.8"),
        AgentDevice("old", [sys.executable, "-c", code]) as old,
    ):
        old.open()


def test_no_room_for_the_agent(tmp_path):
    code = f"import tempfile; tempfile.tempdir = {str(tmp_path / 'none')!r}; {start_code()}"
    with (
        pytest.raises(UsageError, match="no room for the agent in"),
        AgentDevice("full", [sys.executable, "-c", code]) as full,
    ):
        full.open()


def test_python_without_numpy(tmp_path):
    program = tmp_path / "agent.pyz"
    program.write_bytes(archive())
    done = subprocess.run(
        [sys.executable, "-S", program, "time", tmp_path, "--threads", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "the device's Python cannot import NumPy" in done.stderr
    # Without site-packages there is no pip.
    assert "run there: " in done.stderr
    assert "~/mlkdc/bin/pip install numpy; then name that Python with ?python=" in done.stderr


def test_the_agent_is_small_and_needs_numpy_only(tmp_path):
    assert len(archive()) < 60_000
    program = tmp_path / "agent.pyz"
    program.write_bytes(archive())
    site_packages = Path(np.__file__).parent.parent
    code = f"""
import sys
class Numpy:
    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        if package in sys.stdlib_module_names or package in ("mlkdc", "numpy"):
            return None
        raise ImportError(f"{{name}} is not on a device")
sys.meta_path.insert(0, Numpy())
sys.path[:0] = [{str(program)!r}]
sys.path.append({str(site_packages)!r})
import mlkdc.agent.worker, mlkdc.agent.serve
from mlkdc.runtime.base import RUNTIMES
print(mlkdc.agent.worker.__file__, len(RUNTIMES.names()))
"""
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    where, runtimes = done.stdout.split()
    assert where.startswith(str(program))
    assert int(runtimes) == 7


def test_frames_are_what_was_sent():
    from mlkdc.agent.frames import Closed, packed, receive

    data = packed(Frame({"a": "é"}, b"\0\n")) + packed(Frame({"b": 1}))
    position = 0

    def read(count: int) -> bytes:
        nonlocal position
        # As a pipe does, in pieces of any size.
        part = data[position : position + min(count, 3)]
        position += len(part)
        return part

    assert receive(read) == Frame({"a": "é"}, b"\0\n")
    assert receive(read) == Frame({"b": 1}, b"")
    with pytest.raises(Closed):
        receive(read)
