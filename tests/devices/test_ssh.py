"""Machines over ssh: the user's client against real servers on the loopback interface."""

import getpass
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ssh_servers import dropbear, keys, openssh
from waiting import vanished, waited_for

from mlkdc.devices import Load, Subject
from mlkdc.devices.base import DeviceLost
from mlkdc.devices.ssh import SshDevice, explained
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.manifest import Manifest

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh client here; install openssh-client")


def device_of(server, *, python: str = sys.executable, known: Path | None = None, **values) -> SshDevice:
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{server.port}?python={python}"
    return SshDevice(url, options=server.options(known), **values)


def test_it_measures_and_answers_like_the_model(sshd, make_artifact, images, expected):
    folder = make_artifact()
    subject = Subject(folder, Manifest.load(folder))
    with device_of(sshd) as device:
        info = device.open()
        assert info.python == sys.version.split()[0]
        assert info.versions["numpy"] == np.__version__
        np.testing.assert_allclose(device.answers(subject, images), expected(images), atol=1e-6)
        assert device.turn(subject, Load(threads=1, least_seconds=0.2)).runs >= 200
        there = Path(device.folder)
        assert there.exists()
    assert not there.exists()


def test_dropbear_is_as_good(tmp_path, make_artifact, images, expected):
    server = dropbear(tmp_path)
    try:
        folder = make_artifact()
        with device_of(server) as device:
            device.open()
            answers = device.answers(Subject(folder, Manifest.load(folder)), images)
        np.testing.assert_allclose(answers, expected(images), atol=1e-6)
    finally:
        server.process.terminate()
        server.process.wait(timeout=10)


def test_an_unknown_host_key(sshd):
    with (
        pytest.raises(UsageError, match="its host key is not known yet"),
        device_of(sshd, known=Path("/dev/null")) as device,
    ):
        device.open()


def test_a_changed_host_key(sshd, tmp_path):
    keys(tmp_path, sshd.port)
    with (
        pytest.raises(UsageError, match="its host key is another than the one you know"),
        device_of(sshd, known=tmp_path / "known_hosts") as device,
    ):
        device.open()


def test_nobody_is_let_in_without_a_key(sshd, tmp_path):
    keys(tmp_path, sshd.port)
    device = device_of(sshd)
    position = device._command.index(str(sshd.folder / "id"))
    command = [*device._command]
    command[position] = str(tmp_path / "id")
    device._command = command
    with pytest.raises(UsageError, match="it accepts none of your keys"), device:
        device.open()


def test_nothing_listens(sshd):
    sshd_port, sshd.port = sshd.port, 1
    try:
        with pytest.raises(DeviceLost, match="nothing listens there"), device_of(sshd) as device:
            device.open()
    finally:
        sshd.port = sshd_port


def test_no_such_python(sshd):
    with (
        pytest.raises(UsageError, match=r"has no /no/python; name its Python with \?python=PATH"),
        device_of(sshd, python="/no/python") as device,
    ):
        device.open()


def wrapper(folder: Path, text: str) -> str:
    """A program in place of Python there."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(program)


def test_a_full_disk(sshd, tmp_path, make_artifact, images):
    # No file may have more than 100 blocks of 512 bytes: the agent fits, the images do not.
    python = wrapper(tmp_path, f'ulimit -f 100; exec {sys.executable} "$@"')
    folder = make_artifact()
    subject = Subject(folder, Manifest.load(folder))
    with device_of(sshd, python=python) as device:
        device.open()
        with pytest.raises(MlkdcError, match="File too large"):
            device.answers(subject, np.repeat(images, 60, axis=0))
        # It goes on, and what did not fit is gone.
        assert device.answers(subject, images[:1]).shape == (1, 3)
        there = Path(device.folder)
    assert not there.exists()


def bare_python(folder: Path) -> str:
    """A Python with NumPy and nothing else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    installed = Path(np.__file__).parent.parent
    for part in installed.glob("numpy*"):
        (packages / part.name).symlink_to(part)
    return str(folder / "bin/python")


def test_a_runtime_that_is_missing_there(sshd, tmp_path, make_artifact, images):
    folder = make_artifact()
    subject = Subject(folder, Manifest.load(folder))
    with device_of(sshd, python=bare_python(tmp_path / "bare")) as device:
        assert set(device.open().versions) == {"numpy"}
        for job in (
            lambda: device.turn(subject, Load(threads=1, least_seconds=0.1)),
            lambda: device.answers(subject, images),
        ):
            # Not a lost device: other artifacts may run there.
            with pytest.raises(MlkdcError, match="needs ONNX Runtime, which cannot be imported") as caught:
                job()
            assert not isinstance(caught.value, DeviceLost)
        assert device.run(["-c", "print(1)"]).stdout == "1\n"


def worker_of(server) -> int | None:
    """The process that times an artifact there."""
    for pid in server.children():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if b"time" in command:
            return pid
    return None


def test_a_worker_that_is_killed_there(sshd, make_artifact):
    """As the system kills one that needs too much memory."""
    folder = make_artifact()
    subject = Subject(folder, Manifest.load(folder))
    with device_of(sshd) as device, ThreadPoolExecutor(1) as beside:
        device.open()
        timing = beside.submit(device.turn, subject, Load(threads=1, least_seconds=60))
        assert waited_for(lambda: worker_of(sshd), seconds=20)
        os.kill(worker_of(sshd), signal.SIGKILL)
        with pytest.raises(MlkdcError, match=r"^the worker was killed by signal 9 \(SIGKILL\)$"):
            timing.result(timeout=30)
        assert device.turn(subject, Load(threads=1, least_seconds=0.1)).runs >= 200


def test_a_lost_connection_leaves_nothing_there(sshd):
    with device_of(sshd) as device:
        device.open()
        there = Path(device.folder)
        device._channel._process.kill()
        with pytest.raises(DeviceLost, match="was lost"):
            device.run(["-c", "print(1)"])
    assert vanished(there, seconds=40)


def test_a_server_that_dies_is_a_lost_device(sshd):
    with device_of(sshd) as device:
        device.open()
        there = Path(device.folder)
        # The processes of this connection on the server's side, not the agent.
        os.kill(sshd.children()[0], signal.SIGKILL)
        with pytest.raises(DeviceLost, match="was lost"):
            device.run(["-c", "import time; time.sleep(30)"])
    assert vanished(there, seconds=40)


@pytest.mark.slow
def test_a_stalled_network_is_noticed_and_leaves_nothing(sshd):
    with device_of(sshd) as device:
        device.open()
        there = Path(device.folder)
        stalled = [pid for pid in sshd.children() if Path(f"/proc/{pid}/comm").read_text().startswith("sshd")]
        for pid in stalled:
            os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        try:
            with pytest.raises(DeviceLost, match="was lost"):
                device.run(["-c", "import time; time.sleep(60)"])
            assert time.monotonic() - start < 15
        finally:
            # The agent's own watchdog is older than half a minute of silence.
            assert vanished(there, seconds=40)
            for pid in stalled:
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "url",
    [
        "ssh://",
        "ssh://-oProxyCommand=evil",
        "ssh://a b",
        "ssh://pi@kitchen/home",
        "ssh://pi@kitchen?pyhton=x",
        "ssh://pi@kitchen#x",
        "ssh://[::1",
        "ssh://[-oProxyCommand=evil]",
        "ssh://pi@kitchen:99999",
        "ssh://-l@kitchen",
        "ssh://pi:secret@kitchen",
        "ssh://pi@kitchen?python=python3;rm",
        "ssh://pi@kitchen?python=$(id)",
        "ssh://kit`id`chen",
    ],
)
def test_urls_that_are_refused(url):
    with pytest.raises(UsageError, match="ssh://"):
        SshDevice(url)


def test_names_of_ssh_config_keep_their_case():
    assert SshDevice("ssh://Kitchen")._command[-3:-1] == ["--", "Kitchen"]
    command = SshDevice("ssh://pi@kitchen:2222?python=/opt/python3+11")._command
    assert command[-1].startswith("/opt/python3+11 -c ")
    assert command[-5:-1] == ["-p", "2222", "--", "pi@kitchen"]


def test_an_ipv6_address():
    assert SshDevice("ssh://pi@[fe80::1%Eth0]:2222")._command[-5:-1] == ["-p", "2222", "--", "pi@fe80::1%Eth0"]
    with pytest.raises(DeviceLost, match=r"nothing listens there|no way to it|Cannot assign"):
        SshDevice("ssh://[::1]:1").open()


def test_no_client(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="needs the OpenSSH client"):
        SshDevice("ssh://pi@kitchen")


NOISE = """\
bash: /home/pi/.cargo/env: No such file or directory
mesg: cannot open /dev/tty: Permission denied
sh: python3-config: not found
"""


@pytest.mark.parametrize("noise", ["", NOISE])
@pytest.mark.parametrize(
    ("code", "stderr", "words"),
    [
        (255, "ssh: Could not resolve hostname kitchen: Name or service not known", "there is no host of that name"),
        (255, "ssh: connect to host kitchen port 22: Connection timed out", "it does not answer"),
        (255, "ssh: connect to host kitchen port 22: No route to host", "there is no way to it"),
        (255, "pi@hall: Permission denied (publickey).\nkex_exchange\nConnection closed", "accepts none of your keys"),
        (127, "fish: Unknown command: python3\nfish: python3", "has no python3"),
        (1, "python3: Command not found.", "has no python3"),
        (255, "client_loop: send disconnect: Broken pipe", "was lost: client_loop: send disconnect: Broken pipe"),
        (255, "Timeout, server kitchen not responding.", "was lost: Timeout, server kitchen not responding."),
    ],
)
def test_what_ssh_says_in_a_sentence(noise, code, stderr, words):
    assert words in str(explained("ssh://kitchen?python=x", "python3", code, noise + stderr))


def test_an_ssh_that_says_nothing():
    assert "was lost: ssh ended with exit code 255" in str(explained("ssh://kitchen", "python3", 255, ""))


@pytest.mark.parametrize("said", ["Timeout, server kitchen not responding.", "sh: python: not found"])
def test_a_connection_that_is_lost_after_a_noisy_login(tmp_path, monkeypatch, said):
    """A made-up ssh with this machine behind it: what ends a connection is not what a login script says."""
    (tmp_path / "noise").write_text(NOISE)
    (tmp_path / "said").write_text(said)
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/bash\ncat {tmp_path}/noise >&2\nsh -c "${{@: -1}}"\ncat {tmp_path}/said >&2\nexit 255\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with SshDevice(f"ssh://pi@kitchen?python={sys.executable}") as device:
        device.open()
        with pytest.raises(DeviceLost, match=f"^ssh://pi@kitchen was lost: {said}"):
            device.run(["-c", "import os; os.kill(os.getppid(), 9)"])
    shutil.rmtree(device.folder)


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "tcsh", "fish", "zsh", "busybox"])
def test_every_shell_passes_the_program_on(shell):
    from mlkdc.devices.agent import AgentDevice
    from mlkdc.devices.bootstrap import start_code

    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    line = f'{sys.executable} -c "{start_code()}"'
    command = [shell, "-c", line]
    if shell == "busybox":
        command = [shell, "sh", "-c", line]
    with AgentDevice(shell, command) as device:
        assert device.open().python == sys.version.split()[0]


def test_python_runs_nothing_of_the_users_shell_settings(tmp_path):
    """The line holds no character that a shell reads between double quotes."""
    from mlkdc.devices.bootstrap import start_code

    assert not set('"$`\\!\n') & set(start_code())
    done = subprocess.run(["sh", "-c", f'printf %s "{start_code()}"'], capture_output=True, text=True, check=True)
    assert done.stdout == start_code()


def test_a_jump_host_of_ssh_config(sshd, tmp_path, make_artifact, images, expected):
    behind = openssh(tmp_path)
    config = tmp_path / "ssh_config"
    lines = []
    for name, server, jump in (("jump", sshd, ""), ("board", behind, "ProxyJump jump")):
        lines += [f"Host {name}", "HostName 127.0.0.1", f"Port {server.port}", f"User {getpass.getuser()}"]
        lines += [f"IdentityFile {server.folder / 'id'}", f"UserKnownHostsFile {server.known}", jump]
    config.write_text("\n".join(lines) + "\nHost *\nIdentitiesOnly yes\n")
    try:
        folder = make_artifact()
        with SshDevice(f"ssh://board?python={sys.executable}", options=("-F", str(config))) as device:
            device.open()
            answers = device.answers(Subject(folder, Manifest.load(folder)), images)
        np.testing.assert_allclose(answers, expected(images), atol=1e-6)
        # Without the jump host there is no way: the log of the one in front has seen it.
        assert "Accepted publickey" in (sshd.folder / "server.log").read_text()
    finally:
        behind.process.terminate()
        behind.process.wait(timeout=10)
