"""Leaving the phone as it was found, whatever happens to this machine, to mlkdc or to the cable."""

import contextlib
import secrets
import subprocess
import tempfile
import threading
from typing import IO

from mlkdc.agent.others import PREFIX
from mlkdc.devices.adb.client import COMMAND_SECONDS, Adb
from mlkdc.devices.adb.program import PID
from mlkdc.devices.base import DeviceLost
from mlkdc.errors import UsageError

# Runs on the phone while it is measured. Its input ends when mlkdc closes it, when mlkdc or adb dies, and when the
# cable is pulled: then it ends the program that still runs, and cleans up. adbd sends SIGHUP too, which must not end
# it first. Its number lies in its folder: another guard finds it, and removes the folder of one that was killed.
# Android does not tell whether fixed performance mode was on before: it is off at the end.
_SCRIPT = """trap '' HUP INT TERM
mkdir {folder} || exit 1
echo $$ >{folder}/guard.new && mv {folder}/guard.new {folder}/guard || exit 1
for other in {place}/{prefix}*/guard; do
  if [ ! -e $other ] || [ $other = {folder}/guard ]; then continue; fi
  # A number may have been used again, and then has another command line.
  if grep -q ${{other%/guard}} /proc/$(cat $other)/cmdline 2>/dev/null; then rm -rf {folder}; echo busy; exit 1; fi
  rm -rf ${{other%/guard}}
done
fixed=no
cmd power set-fixed-performance-mode-enabled true >/dev/null 2>&1 && fixed=yes
echo fixed=$fixed
cat >/dev/null
kill $(cat {folder}/*/{pid} 2>/dev/null) 2>/dev/null
if [ $fixed = yes ]; then cmd power set-fixed-performance-mode-enabled false >/dev/null 2>&1; fi
{clear}
echo gone"""

PLACE = "/data/local/tmp"

#: Bytes of a line, or of what adb says, that are read.
MOST_SAID = 4096


class Guard:
    """A folder on the phone, and its clock held steady, until closed.

    Args:
        adb: the phone.
        keep: whether the folder stays.

    Raises:
        DeviceLost: the phone is gone, or lets nobody write there.
        UsageError: another mlkdc measures there.
    """

    def __init__(self, adb: Adb, *, keep: bool = False) -> None:
        self.folder = f"{PLACE}/{PREFIX}{secrets.token_hex(6)}"
        pipe = subprocess.PIPE
        # A pipe that nobody reads would fill up and stop adb.
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the guard
        self._errors = ""
        clear = f"rm -rf {self.folder}"
        if keep:
            clear = f"rm {self.folder}/guard"
        script = _SCRIPT.format(folder=self.folder, place=PLACE, prefix=PREFIX, pid=PID, clear=clear)
        command = adb.command("shell", "-T", script)
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._stderr)
        first = self._line()
        if first == "busy":
            self.close()
            # It would put the phone's state back in the middle of the other's work.
            raise UsageError(f"adb://{adb.serial} is being measured by another mlkdc; try again when that has ended")
        if not first.startswith("fixed="):
            self.close()
            raise DeviceLost(f"adb://{adb.serial}: no folder could be made in {PLACE} ({self._errors})")
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
