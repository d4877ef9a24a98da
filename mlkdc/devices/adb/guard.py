"""Leaving the phone as it was found, whatever happens to this machine, to mlkdc or to the cable."""

import contextlib
import secrets
import subprocess
import tempfile
import threading
from typing import IO

from mlkdc.devices.adb.client import COMMAND_SECONDS, Adb
from mlkdc.devices.adb.program import PID
from mlkdc.devices.base import DeviceLost

# Runs on the phone while it is measured. Its input ends when mlkdc closes it, when mlkdc or adb dies, and when the
# cable is pulled: then it ends the program that still runs, and cleans up. adbd sends SIGHUP too, which must not end
# it first.
_SCRIPT = """trap '' HUP INT TERM
mkdir {folder} || exit 1
fixed=no
cmd power set-fixed-performance-mode-enabled true >/dev/null 2>&1 && fixed=yes
echo fixed=$fixed
cat >/dev/null
kill $(cat {folder}/*/{pid} 2>/dev/null) 2>/dev/null
if [ $fixed = yes ]; then cmd power set-fixed-performance-mode-enabled false >/dev/null 2>&1; fi
{clear}
echo gone"""

#: Bytes of a line, or of what adb says, that are read.
MOST_SAID = 4096


class Guard:
    """A folder on the phone, and its clock held steady, until closed.

    Args:
        adb: the phone.
        keep: whether the folder stays.

    Raises:
        DeviceLost: the phone is gone, or lets nobody write there.
    """

    def __init__(self, adb: Adb, *, keep: bool = False) -> None:
        self.folder = f"/data/local/tmp/mlkdc-{secrets.token_hex(6)}"
        pipe = subprocess.PIPE
        # A pipe that nobody reads would fill up and stop adb.
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the guard
        self._errors = ""
        clear = f"rm -rf {self.folder}"
        if keep:
            clear = ":"
        script = _SCRIPT.format(folder=self.folder, pid=PID, clear=clear)
        command = adb.command("shell", "-T", script)
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._stderr)
        first = self._line()
        if not first.startswith("fixed="):
            self.close()
            raise DeviceLost(f"adb://{adb.serial}: no folder could be made in /data/local/tmp ({self._errors})")
        self.fixed_performance = first == "fixed=yes"

    def close(self) -> None:
        """Put the phone back, and wait until that is done; nothing where it is gone."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        # Where adb is gone already, the phone has seen that too.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        limit = threading.Timer(COMMAND_SECONDS, self._process.kill)
        limit.start()
        while self._line() not in ("gone", ""):
            pass
        self._process.wait()
        limit.cancel()
        self._stderr.seek(0)
        self._errors = " ".join(self._stderr.read(MOST_SAID).decode("utf-8", errors="replace").split())
        self._stderr.close()

    def _line(self) -> str:
        """The next line; empty where there is none within a minute, or it has no end."""
        assert self._process.stdout
        limit = threading.Timer(COMMAND_SECONDS, self._process.kill)
        limit.start()
        line = self._process.stdout.readline(MOST_SAID)
        limit.cancel()
        return line.decode("utf-8", errors="replace").strip()
