"""A machine that the user's OpenSSH client reaches: agents, keys, jump hosts and aliases of ssh_config work."""

import re
import shutil
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import parse_qsl

from mlkdc.devices.agent import AgentDevice
from mlkdc.devices.base import DeviceLost
from mlkdc.devices.bootstrap import start_code
from mlkdc.errors import MlkdcError, UsageError

OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=15",
    # A stalled network is noticed after about 15 s.
    "ServerAliveInterval=5",
    "ServerAliveCountMax=2",
)
#: The only part of a URL that a shell on the device reads.
SAFE_PATH = re.compile(r"[A-Za-z0-9_./+~-]+")
#: Neither user nor host may look like an option.
URL = re.compile(
    r"ssh://"
    r"(?:(?P<user>[A-Za-z0-9_.\\+][A-Za-z0-9_.@\\+-]*)(?P<password>:[^@]*)?@)?"
    r"(?P<host>\[[A-Fa-f0-9:][A-Za-z0-9_.:%-]*\]|[A-Za-z0-9_.%][A-Za-z0-9_.%-]*)"
    r"(?::(?P<port>[0-9]{0,6}))?"
    r"/?(?:\?(?P<query>[^#]*))?"
)
MOST_PORT = 65535
#: The exit code for ssh's own failures.
OWN_CODE = 255
#: Of stderr, in which ssh says what its own failure was; behind a jump host its last two say that it was closed.
LAST_LINES = 4
EXAMPLE = "expected ssh://[user@]host[:port][?python=PATH], such as ssh://pi@kitchen"


class SshDevice(AgentDevice):
    """The agent over one ``ssh``.

    Args:
        url: ``ssh://[user@]host[:port][?python=PATH]``.
        keep: whether the agent's folder stays there.
        options: of ssh, before those of ours; for tests.

    Raises:
        UsageError: the URL cannot be read, or there is no ssh here.
    """

    def __init__(self, url: str, *, keep: bool = False, options: tuple[str, ...] = ()) -> None:
        destination, python = _parsed(url)
        program = shutil.which("ssh")
        if program is None:
            raise UsageError(f"{url} needs the OpenSSH client, and there is no `ssh` here; install it")
        command = [program, "-T", *options]
        for option in OPTIONS:
            command += ["-o", option]
        command += [*destination, f'{python} -c "{start_code()}"']
        self._wanted_python = python
        super().__init__(url, command, explain=self._ended, keep=keep)

    def _ended(self, code: int, stderr: str) -> MlkdcError:
        started = self._channel is not None and self._channel.started
        return explained(self.name, self._wanted_python, code, stderr, started=started)


def _parsed(url: str) -> tuple[list[str], str]:
    """The arguments that tell ssh where to go, and the path of Python there."""
    parts = URL.fullmatch(url)
    if parts is None:
        raise UsageError(f"{url}: {EXAMPLE}")
    if parts["password"] is not None:
        raise UsageError(f"{url}: a password does not belong in a URL; ssh uses your keys and agent")
    # A + is a plus sign here, not a space.
    query = dict(parse_qsl((parts["query"] or "").replace("+", "%2B"), keep_blank_values=True))
    python = query.pop("python", "python3")
    if query:
        raise UsageError(f"{url}: {EXAMPLE}")
    if not SAFE_PATH.fullmatch(python):
        raise UsageError(f"{url}: python={python!r} has other characters than letters, digits and _ . / + ~ -")
    # Not as a URL, of which ssh reads no IPv6 address. As it was typed: names of ssh_config may differ by case.
    destination = parts["host"].strip("[]")
    if parts["user"] is not None:
        destination = f"{parts['user']}@{destination}"
    if not parts["port"]:
        return ["--", destination], python
    if int(parts["port"]) > MOST_PORT:
        raise UsageError(f"{url}: the port is no number up to {MOST_PORT}; {EXAMPLE}")
    return ["-p", parts["port"], "--", destination], python


def explained(url: str, python: str, code: int, stderr: str, *, started: bool = False) -> MlkdcError:
    """Why ssh ended, and what to do, in one sentence.

    Args:
        url, python: that were asked for.
        code: of ssh: that of the program there, or its own.
        stderr: of ssh and of that program, a noisy login script included.
        started: whether the agent had spoken, so that it was reached and has Python.
    """
    name = url.partition("?")[0]
    lines = stderr.splitlines() or [f"ssh ended with exit code {code}"]
    last = lines[-1].strip()
    if started:
        return DeviceLost(f"{name} was lost: {last}")
    if code == OWN_CODE:
        said = "\n".join(lines[-LAST_LINES:])
        for words, sentence in _NOT_SET_UP.items():
            if words in said:
                return UsageError(f"{name}: {sentence}")
        for words, sentence in _NOT_REACHED.items():
            if words in said:
                return DeviceLost(f"{name}: {sentence}")
    # Not every shell ends with 127.
    not_there = "not found" in last or "No such file" in last
    if code == 127 or (code != OWN_CODE and not_there and PurePosixPath(python).name in last):
        return UsageError(f"{name} has no {python}; name its Python with ?python=PATH, or install one (3.10 or later)")
    return DeviceLost(f"{name} was lost: {last}")


#: What OpenSSH says, and what a user does about it. The first that fits.
_NOT_SET_UP: Mapping[str, str] = {
    "has changed and you have requested strict checking": "its host key is another than the one you know: someone may "
    "be in between, or it was set up again; if you are sure, remove the old key with `ssh-keygen -R HOST` and connect "
    "once with ssh",
    "Host key verification failed": "its host key is not known yet; connect once with `ssh` by hand, compare the "
    "fingerprint, and accept it",
    "Permission denied (": "it accepts none of your keys; `ssh-copy-id` puts one there, and `ssh-add` unlocks it",
}
_NOT_REACHED: Mapping[str, str] = {
    "Could not resolve hostname": "there is no host of that name; check the spelling, or give its address",
    "Connection refused": "nothing listens there; check that it is on, runs an SSH server, and the port",
    "No route to host": "there is no way to it; check that it is on and on this network",
    "timed out": "it does not answer; check that it is on and on this network",
}
