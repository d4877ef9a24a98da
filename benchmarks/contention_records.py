"""contention.json and device_pairs.json: what sets the limits of a verdict, and what the way to a device costs."""

from typing import ClassVar

from study_records import MeasuredStudy, StudyFile

from mlkdc.records.base import Moment, Record
from mlkdc.records.bench import Speedup, Turn, Verdict
from mlkdc.records.machine import Machine


class TimedTurn(Record):
    """One process.

    Args:
        turn: without its samples.
        verdict: of it alone (which is at best ``unknown`` now: one process has no spread).
        steady: whether its calls agree with each other, which is all that can be seen from within.
    """

    turn: Turn
    verdict: Verdict
    steady: bool


class Situation(Record):
    """Ten processes in a row.

    Args:
        busy: other processes that never sleep.
        verdict: of all of them together.
        same: how many times as fast the artifact was as itself, five passes.
    """

    busy: int
    threads: int
    turns: tuple[TimedTurn, ...]
    verdict: Verdict
    why: str
    same: Speedup


class ContentionStudy(MeasuredStudy):
    """The file."""

    FILE: ClassVar[str] = "contention.json"

    when: Moment
    artifact: str
    situations: tuple[Situation, ...]


class DevicePair(Record):
    """A device next to this machine.

    Args:
        local_ms, device_ms: medians over five turns.
        speedup: of the device over this machine, paired by turn.
    """

    device: str
    provider: str
    local_ms: float
    device_ms: float
    speedup: Speedup


class DevicePairsStudy(StudyFile):
    """device_pairs.json."""

    FILE: ClassVar[str] = "device_pairs.json"

    when: Moment
    artifact: str
    machine: Machine
    pairs: tuple[DevicePair, ...]
