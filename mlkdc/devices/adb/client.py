"""The user's adb program: which phones there are, commands and files for one of them."""

import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mlkdc.devices.base import DeviceLost
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.resources import file_sha256

COMMAND_SECONDS = 60.0
PUSH_SECONDS = 600.0
FULL_DISK = "No space left on device"


@dataclass(frozen=True)
class Output:
    """What a command on the phone printed, and its exit code."""

    stdout: bytes
    stderr: str
    code: int

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode("utf-8", errors="replace")


class Adb:
    """One phone. Commands are scripts of ours for its shell; nothing that a user wrote goes into them unchecked.

    Args:
        program: path of adb.
        serial: of a phone that adb lists as ready.
    """

    def __init__(self, program: str, serial: str) -> None:
        self.program = program
        self.serial = serial

    def command(self, *arguments: str) -> list[str]:
        """The arguments of a process that runs adb for this phone."""
        return [self.program, "-s", self.serial, *arguments]

    def shell(self, script: str, *, seconds: float = COMMAND_SECONDS) -> Output:
        """Run a script in the phone's shell.

        adb exits with 0 where the phone is unplugged in the middle: only a last line of ours, which has the exit code
        of the script, shows that it ran to its end.

        Raises:
            DeviceLost: it did not, or took longer than ``seconds``.
        """
        marker = f"mlkdc-{secrets.token_hex(8)}"
        wrapped = f"(\n{script}\n)\nprintf '\\n{marker} %d\\n' $?"
        done = _run(self.command("shell", "-T", wrapped), seconds)
        stderr = done.stderr.decode("utf-8", errors="replace").strip()
        end = re.search(rb"\n" + marker.encode() + rb" (\d+)\r?\n\Z", done.stdout)
        if end is None:
            raise DeviceLost(f"adb://{self.serial} was disconnected{_said(stderr)}; plug it in and repeat")
        return Output(done.stdout[: end.start()], stderr, int(end[1]))

    def push(self, source: Path, target: str) -> None:
        """Copy a file to the phone, and compare the checksums.

        Raises:
            MlkdcError: it does not fit, or arrived damaged.
            DeviceLost: the phone is gone.
        """
        done = _run(self.command("push", str(source.resolve()), target), PUSH_SECONDS)
        said = (done.stdout + done.stderr).decode("utf-8", errors="replace")
        if FULL_DISK in said:
            megabytes = source.stat().st_size / 1e6
            raise MlkdcError(f"adb://{self.serial} has no room for {source.name} ({megabytes:.1f} MB); free some")
        checksum = self.shell(f"sha256sum {target}").text.partition(" ")[0]
        if checksum != file_sha256(source):
            raise MlkdcError(f"could not copy {source.name} to adb://{self.serial}{_said(_fault(said))}")


def connect(serial: str | None) -> Adb:
    """Find adb and the phone.

    Raises:
        UsageError: there is no adb, the phone does not trust this computer, or there are several and none is named.
        DeviceLost: adb's server does not start, or there is no such phone, or it is offline.
    """
    program = shutil.which("adb")
    if program is None:
        raise UsageError(
            "adb is not installed: install Android's platform tools (Debian, Ubuntu: `apt install adb`; macOS: "
            "`brew install android-platform-tools`; else developer.android.com/tools/releases/platform-tools)"
        )
    phones = _phones(program)
    if serial is None:
        serial = _only(phones)
    if serial not in phones:
        raise DeviceLost(f"adb sees no phone {serial}{_seen(phones)}; plug it in, and see `adb devices`")
    _check_ready(serial, phones[serial])
    return Adb(program, serial)


def _phones(program: str) -> dict[str, str]:
    """State by serial number. Starts adb's server where none runs, as adb does."""
    done = _run([program, "devices"], COMMAND_SECONDS)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode("utf-8", errors="replace")
        raise DeviceLost(f"adb's server cannot be reached{_said(_fault(said))}; try `adb start-server`")
    phones = {}
    for line in done.stdout.decode("utf-8", errors="replace").splitlines():
        serial, tab, state = line.partition("\t")
        if tab:
            phones[serial] = state.strip()
    return phones


def _only(phones: dict[str, str]) -> str:
    if not phones:
        raise DeviceLost(
            "adb sees no phone: plug it in, turn on USB debugging (Settings > System > Developer options) and allow "
            "this computer; `adb devices` must list it"
        )
    if len(phones) > 1:
        named = " or ".join(f"adb://{serial}" for serial in sorted(phones))
        raise UsageError(f"adb sees {len(phones)} phones: name one, {named}")
    return next(iter(phones))


def _check_ready(serial: str, state: str) -> None:
    if state == "device":
        return
    if state == "unauthorized":
        raise UsageError(
            f"adb://{serial} does not trust this computer: unlock it and allow USB debugging in the dialog it shows"
        )
    if state.startswith("no permissions"):
        raise UsageError(f"adb may not use adb://{serial} ({state}): add udev rules, or yourself to group plugdev")
    if state == "offline":
        raise DeviceLost(f"adb://{serial} is offline: unplug it and plug it in again, or `adb reconnect offline`")
    raise DeviceLost(f"adb://{serial} is not ready: it is in state {state!r}, expected 'device'; start Android on it")


def _run(command: list[str], seconds: float) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceLost(f"adb did not answer within {seconds:g} s; try `adb kill-server`, or plug in again") from None
    except OSError as error:
        raise UsageError(f"could not start {command[0]}: {error.strerror or error}; install adb again") from error


def _seen(phones: dict[str, str]) -> str:
    if not phones:
        return ""
    return f", only {', '.join(sorted(phones))}"


def _fault(said: str) -> str:
    """The line that tells most of what adb printed."""
    for line in said.splitlines():
        if "error:" in line or "cannot" in line:
            return line.strip()
    return said.strip().partition("\n")[0]


def _said(message: str) -> str:
    if not message:
        return ""
    return f" ({' '.join(message.split())[:200]})"
