"""contention.json: what sets the limits of a verdict."""

from typing import ClassVar

from study_records import StudyFile

from mlkdc.records.base import Moment, Record
from mlkdc.records.bench import Speedup, Turn, Verdict
from mlkdc.records.machine import Machine


class TimedTurn(Record):
    """One process.

    Args:
        turn: without its samples.
        verdict: of it alone.
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


class ContentionStudy(StudyFile):
    """The file."""

    FILE: ClassVar[str] = "contention.json"

    when: Moment
    artifact: str
    machine: Machine
    versions: dict[str, str]
    situations: tuple[Situation, ...]
