"""Real SSH servers on the loopback interface, with keys of their own, stopped by their process id."""

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ports import free_port

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
DROPBEAR = shutil.which("dropbear") or "/usr/sbin/dropbear"
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
StrictModes no
PidFile none
UsePAM no
"""


@dataclass
class Server:
    """A running server and what a client needs to trust it and to be let in."""

    folder: Path
    port: int
    process: subprocess.Popen
    known: Path = field(init=False)

    def __post_init__(self) -> None:
        self.known = self.folder / "known_hosts"

    def options(self, known: Path | None = None) -> tuple[str, ...]:
        """Of the ssh client; the user's own configuration and keys are left out."""
        files = f"UserKnownHostsFile={known or self.known}"
        options = ["-F", "/dev/null", "-i", str(self.folder / "id"), "-o", "IdentitiesOnly=yes", "-o", files]
        # A stalled network is noticed sooner than by a user.
        return (*options, "-o", "ServerAliveInterval=1", "-o", "GlobalKnownHostsFile=/dev/null")

    def children(self) -> list[int]:
        """Processes of its connections."""
        return descendants(self.process.pid)


def descendants(pid: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *descendants(int(child))]
    return found


def keys(folder: Path, port: int) -> None:
    for name in ("host", "id"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    shutil.copy(folder / "id.pub", folder / "authorized")
    host = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}")


def openssh(folder: Path) -> Server:
    if not Path(SSHD).exists():
        pytest.skip("no sshd here; install openssh-server")
    Path("/run/sshd").mkdir(exist_ok=True)
    port = free_port()
    keys(folder, port)
    (folder / "config").write_text(CONFIG.format(port=port, folder=folder))
    return started(folder, port, [SSHD, "-D", "-e", "-f", str(folder / "config")])


def dropbear(folder: Path) -> Server:
    if not Path(DROPBEAR).exists():
        pytest.skip("no dropbear here; install dropbear-bin")
    usage = subprocess.run([DROPBEAR, "-h"], capture_output=True, text=True, check=False)
    if "\n-D" not in usage.stderr + usage.stdout:
        pytest.skip("this dropbear takes no other folder of keys than the user's own (2024.84 and later do)")
    port = free_port()
    keys(folder, port)
    home = folder / "keys"
    home.mkdir(mode=0o700)
    host = folder / "dropbear_host"
    # It reads no OpenSSH keys.
    made = subprocess.run(["dropbearkey", "-t", "ed25519", "-f", str(host)], check=True, capture_output=True, text=True)
    public = next(line for line in made.stdout.splitlines() if line.startswith("ssh-ed25519"))
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}\n")
    shutil.copy(folder / "id.pub", home / "authorized_keys")
    (home / "authorized_keys").chmod(0o600)
    command = [DROPBEAR, "-F", "-E", "-r", str(host), "-p", f"127.0.0.1:{port}", "-D", str(home), "-P", "/dev/null"]
    return started(folder, port, command)


def started(folder: Path, port: int, command: list[str]) -> Server:
    log = (folder / "server.log").open("w")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return Server(folder, port, process)
        time.sleep(0.05)
    process.kill()
    pytest.fail(f"{command[0]} did not start: {(folder / 'server.log').read_text()}")
