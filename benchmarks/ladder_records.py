"""ladder.json: how long int8 ladders take."""

from typing import ClassVar

from study_records import RowsStudy

from mlkdc.records.base import Record
from mlkdc.records.machine import Machine


class Climb(Record):
    """One way up a ladder.

    Args:
        artifacts: made and compared with the torch model.
        seconds: all of it.
        held: whether the last one was within the limits, with the margin that ends a ladder.
    """

    artifacts: int
    seconds: float
    held: bool


class LadderRow(Record):
    """One ladder, both ways in turn.

    Args:
        artifact: target and precision.
        limits: the target's own, or such that no step holds them, so that the ladder is climbed to its end.
        every: each step made and compared, in order, until one holds.
        simulated: as an export does: a step is made where a simulation says that it may hold.
    """

    artifact: str
    limits: str
    every: Climb
    simulated: Climb


class LadderStudy(RowsStudy):
    """All ladders of one run."""

    FILE: ClassVar[str] = "ladder.json"

    command: str
    data: str
    student: str
    versions: dict[str, str]
    machine: Machine
    rows: tuple[LadderRow, ...] = ()
