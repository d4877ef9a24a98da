"""limits.json: what sets the limits of drift, spread and warm-up."""

from typing import ClassVar

from study_records import MeasuredStudy

from mlkdc.records.base import Moment, Record
from mlkdc.records.bench import Turn


class HeldTurn(Record):
    """A turn of one thread.

    Args:
        held_us: microseconds of every millisecond that its process was stopped.
        from_start: of the process; else from the middle of the timed calls on.
        turn: without its samples.
    """

    held_us: int
    from_start: bool
    turn: Turn


class Start(Record):
    """A fresh process that does not warm up.

    Args:
        windows_us: medians of ten successive calls, from the second call on.
    """

    windows_us: tuple[int, ...]


class LimitsStudy(MeasuredStudy):
    """The file.

    Args:
        turns: in the order in which they were measured.
        starts: with nothing that holds them up.
    """

    FILE: ClassVar[str] = "limits.json"

    when: Moment
    artifact: str
    turns: tuple[HeldTurn, ...]
    starts: tuple[Start, ...]

    def held(self, held_us: int, *, from_start: bool) -> list[Turn]:
        """The turns of one kind."""
        return [held.turn for held in self.turns if (held.held_us, held.from_start) == (held_us, from_start)]
