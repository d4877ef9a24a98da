"""What a device must do for models to be measured on it."""

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlkdc.records.machine import Machine


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


class Device(ABC):
    """A machine with Python on it: this one, or another that is reached in some way."""

    name: str
    """As the user names it: ``local``, ``ssh://pi@kitchen``."""

    @abstractmethod
    def run(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Completed:
        """Run the device's Python with these arguments and wait for its end.

        Args:
            arguments: after the interpreter: ``["-m", "mlkdc.runtime.worker", ...]``.
            environment: variables added to the device's own.
            timeout_seconds: after which it is killed; None = never.

        Raises:
            MlkdcError: it could not be started, or took too long.
        """

    @abstractmethod
    def push(self, source: Path) -> str:
        """Make a local file or folder available on the device, and return its path there."""

    @abstractmethod
    def pull(self, source: str, destination: Path) -> None:
        """Copy a file of the device to a local path.

        Raises:
            MlkdcError: there is no such file.
        """

    @abstractmethod
    def machine(self) -> Machine:
        """What the device is."""

    @abstractmethod
    def versions(self, packages: Iterable[str]) -> dict[str, str]:
        """The versions of Python and of those packages that are installed there."""
