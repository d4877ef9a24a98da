"""ladder.json and ladder_versions.json: how long int8 ladders take."""

from typing import ClassVar

from study_records import MeasuredStudy, RowsStudy

from mlkdc.records.base import Record


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


class LadderStudy(RowsStudy, MeasuredStudy):
    """All ladders of one run.

    Args:
        training, command: what trained the run, and what measured it.
    """

    FILE: ClassVar[str] = "ladder.json"

    training: str
    command: str
    data: str
    student: str
    rows: tuple[LadderRow, ...] = ()


class LadderSeconds(Record):
    """One full ladder.

    Args:
        command: all of `mlkdc export`.
        ladder: from its first artifact to its last verdict, without the torch model's answers.
    """

    command: float
    ladder: float


class VersionTurn(Record):
    """One full ladder in an earlier version, and then in this one."""

    earlier: LadderSeconds
    now: LadderSeconds


class VersionRow(Record):
    """A target's turns."""

    target: str
    turns: tuple[VersionTurn, ...]


class VersionsStudy(RowsStudy, MeasuredStudy):
    """ladder_versions.json.

    Args:
        training, export: the commands; each version exports a run that it trained itself.
        earlier: its revision.
    """

    FILE: ClassVar[str] = "ladder_versions.json"

    training: str
    export: str
    earlier: str
    rows: tuple[VersionRow, ...] = ()
