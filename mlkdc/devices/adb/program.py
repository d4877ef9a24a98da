"""What the programs for measuring on a phone have in common: how one is started, and what comes back."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from mlkdc.devices.adb.client import FULL_DISK
from mlkdc.devices.base import Load
from mlkdc.errors import MlkdcError
from mlkdc.records.bench import Turn

#: Names in the folder on the phone. Only these, numbers and checked paths go into the phone's shell.
MODEL, INPUT, INPUTS, PID = "model", "input.bin", "inputs.bin", "pid"
WARMUP_SECONDS = 1.0


@dataclass(frozen=True)
class Printed:
    """What a program on the phone printed, its log included, and its exit code."""

    text: str
    code: int


#: Runs a command in the folder on the phone.
Run = Callable[[str], Printed]


class Program(ABC):
    """A program on the phone that loads :data:`MODEL` and calls it with :data:`INPUT`, in a new process each time.

    Args:
        path: on the phone, checked.
    """

    name: ClassVar[str]
    runtime: ClassVar[str]
    """Of the artifacts it can run."""
    ending: ClassVar[str]
    """Of their model file."""
    output: ClassVar[str]
    """Name of the file that :meth:`answer` writes."""
    log: ClassVar[str] = "true"
    """A command that prints what the process of number :data:`PID` logged elsewhere."""
    notes: ClassVar[tuple[str, ...]] = ()
    """On its figures, in sentences."""

    def __init__(self, path: str) -> None:
        self.path = path

    @abstractmethod
    def time(self, run: Run, shape: tuple[int, ...], load: Load) -> Turn:
        """Time the model.

        Args:
            run: starts a command.
            shape: of the input, in the model's layout.
            load: what to do.

        Returns:
            The turn, without its conditions.

        Raises:
            MlkdcError: the program failed, or printed something else.
        """

    @abstractmethod
    def answer(self, shape: tuple[int, ...]) -> str:
        """The command that calls the model once and writes its output."""

    def started(self, command: str) -> str:
        """A command in shell, with the number of its process in :data:`PID` while it runs, and its log after it."""
        # Not in the background, where a shell may lower its priority.
        run = f"sh -c 'echo $$ >{PID}; exec {command}' </dev/null"
        return f"{run}; code=$?; {self.log}; rm -f {PID}; exit $code"


def failed(program: Program, printed: Printed) -> MlkdcError:
    """The error for a program that ended with another exit code than 0, with the line that tells most."""
    if FULL_DISK in printed.text:
        return MlkdcError(f"the phone has no room for what {program.name} reads and writes; free some")
    lines = [line.strip() for line in printed.text.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "failed" in line.lower()]
    said = (telling or lines or ["it printed nothing"])[-1][:200]
    return MlkdcError(f"{program.name} on the phone ended with exit code {printed.code}: {said}")
