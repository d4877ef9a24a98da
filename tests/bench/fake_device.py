"""A device of the tests: what it measures is written down beforehand, and what it was asked is kept."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlkdc.devices import Device, Load, Subject
from mlkdc.errors import MlkdcError
from mlkdc.records.bench import Conditions, DeviceInfo, Turn
from mlkdc.records.machine import Machine

QUIET = Conditions(waited=0.0, cpu_fraction=1.0)


def turn(median_ms: float = 1.0, *, conditions: Conditions = QUIET, **values) -> Turn:
    """A turn that nothing speaks against."""
    defaults = {
        "p90_ms": median_ms * 1.2,
        "min_ms": median_ms * 0.9,
        "load_ms": 30.0,
        "first_ms": 5.0,
        "runs": 200,
        "warmup_runs": 40,
        "settled": True,
        "drift": 1.0,
        "peak_mib": 50.0,
    }
    return Turn(median_ms=median_ms, conditions=conditions, **{**defaults, **values})


class FakeDevice(Device):
    """Gives the next turn of the artifact's list, or raises it."""

    def __init__(self, name: str, turns: dict[str, list[Turn | Exception]], refuses: Exception | None = None) -> None:
        self.name, self._turns, self._refuses = name, turns, refuses
        self.asked: list[tuple[str, Load]] = []
        self.closed = 0
        self.answer: Callable[[np.ndarray], np.ndarray] | None = None

    def open(self) -> DeviceInfo:
        if self._refuses is not None:
            raise self._refuses
        return DeviceInfo(url=self.name, machine=Machine(cpu="made up", cores=4, system="tests"))

    def turn(self, subject: Subject, load: Load) -> Turn:
        name = subject.folder.name
        self.asked.append((name, load))
        result = self._turns[name].pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def answers(self, subject: Subject, pixels: np.ndarray) -> np.ndarray:
        if self.answer is None:
            raise MlkdcError(f"{subject.folder.name} cannot run here")
        return self.answer(pixels)

    def close(self) -> None:
        self.closed += 1


def folder_named(make_artifact, name: str, **values) -> Path:
    """A copy of the tiny artifact under another name."""
    folder = make_artifact(**values)
    other = folder.parent / name
    if other != folder:
        shutil.copytree(folder, other)
    return other
