"""A port of this machine on a phone, by ``adb reverse``: there it is localhost, which browsers trust."""

import shutil
import subprocess

from mlkdc.devices.base import DeviceLost
from mlkdc.errors import UsageError

SECONDS = 15.0


class ReversedPort:
    """The same port on the phone, until :meth:`close`.

    Args:
        serial: of the phone, as ``adb devices`` lists it.
        port: of this machine.

    Raises:
        UsageError: adb is not installed.
        DeviceLost: the phone is not there, or refuses.
    """

    def __init__(self, serial: str, port: int) -> None:
        self._serial = serial
        self._port = f"tcp:{port}"
        said = self._adb(self._port, self._port)
        # adb was seen to exit with 0 after a phone was unplugged, so its word is not taken.
        listed = self._adb("--list")
        if self._port not in listed.split():
            reason = " ".join(said.split()) or "it gave no reason"
            raise DeviceLost(
                f"adb could not make {self._port} reachable on {serial} ({reason}); "
                "`adb devices` must list it as `device`: unlock it, and allow debugging there"
            )

    def close(self) -> None:
        """Remove it; a phone that is gone has forgotten it."""
        self._adb("--remove", self._port)

    def _adb(self, *arguments: str) -> str:
        """What it printed."""
        program = shutil.which("adb")
        if program is None:
            raise UsageError("found no adb on the PATH; install Android's platform-tools, or use `--device browser`")
        command = [program, "-s", self._serial, "reverse", *arguments]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {SECONDS:g} s"
        return done.stdout + done.stderr
