"""This machine as a device, with the Python that runs mlkdc."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mlkdc.devices.base import Completed, Device
from mlkdc.errors import MlkdcError
from mlkdc.records.machine import Machine
from mlkdc.runtime.machine import machine, versions


class LocalDevice(Device):
    """Commands run as child processes; files are used where they are.

    Args:
        python: the interpreter; None = the one that runs this.
    """

    name = "local"

    def __init__(self, python: str | None = None) -> None:
        self.python = python or sys.executable

    def run(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Completed:
        command = [self.python, *arguments]
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **(environment or {})},
                capture_output=True,
                text=True,
                # What a native library prints need not be UTF-8.
                errors="replace",
                timeout=timeout_seconds,
                check=False,
            )
        except OSError as error:
            raise MlkdcError(f"could not start {self.python}: {error.strerror or error}") from error
        except subprocess.TimeoutExpired as error:
            raise MlkdcError(f"took longer than {error.timeout:g} s") from error
        return Completed(done.returncode, done.stdout, done.stderr)

    def push(self, source: Path) -> str:
        return str(source.resolve())

    def pull(self, source: str, destination: Path) -> None:
        path = Path(source)
        if not path.is_file():
            raise MlkdcError(f"{self.name} has no file {source}")
        if path.resolve() != destination.resolve():
            shutil.copyfile(path, destination)

    def machine(self) -> Machine:
        return machine()

    def versions(self, packages: Iterable[str]) -> dict[str, str]:
        return versions(packages)
