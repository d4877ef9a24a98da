"""Running Python and waiting for its end."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlkdc.errors import MlkdcError

#: Of Linux's ``prctl``.
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Completed:
    """How a command ended.

    Args:
        returncode: 0 for success; minus the number of the signal that killed it.
        stdout, stderr: what it printed.
    """

    returncode: int
    stdout: str
    stderr: str

    @property
    def failure(self) -> str | None:
        """Why it failed: the signal that killed it, or the last line it wrote to stderr; None if it did not."""
        if self.returncode == 0:
            return None
        if self.returncode < 0:
            return f"the worker was killed by signal {_signal_name(-self.returncode)}"
        lines = self.stderr.strip().splitlines()
        if lines:
            return lines[-1].strip()
        return f"the worker ended with exit code {self.returncode} and no message"


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:  # real-time signals have no names
        return str(number)


def end_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it ends, in whatever way; elsewhere nothing."""
    if not sys.platform.startswith(("linux", "android")):
        return
    try:
        import ctypes
    except ImportError:  # a Python that was built without libffi
        return
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


Started = Callable[["subprocess.Popen[str]"], object]


def run_python(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float | None = None,
    python: str = sys.executable,
    started: Started = lambda child: None,
) -> Completed:
    """Run Python with these arguments and wait for its end.

    Args:
        arguments: after the interpreter.
        environment: variables added to this process's.
        timeout_seconds: after which it is killed; None = never.
        python: the interpreter.
        started: gets the process, so that another thread can kill it.

    Raises:
        MlkdcError: it could not be started, or took too long.
    """
    try:
        child = subprocess.Popen(
            [python, *arguments],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # What a native library prints need not be UTF-8.
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise MlkdcError(f"could not start {python}: {error.strerror or error}") from error
    with child:
        started(child)
        try:
            stdout, stderr = child.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            raise MlkdcError(f"took longer than {timeout_seconds:g} s") from None
        except BaseException:
            child.kill()
            raise
    return Completed(child.returncode, stdout, stderr)
