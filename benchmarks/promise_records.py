"""promise.json: whether limits that held on some images hold on others."""

from study_records import MeasuredStudy, RowsStudy

from mlkdc.records.base import Record
from mlkdc.records.parity import Tolerance


class HalfFigures(Record):
    """Of one half of the images, on which the artifact and the torch model were compared. Drops in percentage points.

    Args:
        held: whether all limits of the target did, as an export judges them.
        worst_class_upper_points: upper end of the interval that an export gives with the worst class's drop.
        classes_judged: labels with enough positive images in this half, among which the worst was sought.
    """

    held: bool
    map_drop_points: float
    worst_class: str
    worst_class_drop_points: float
    worst_class_upper_points: float
    classes_judged: int


class Choice(Record):
    """A step of the ladder that a half of the images chose, judged by that half, and by the other images.

    Args:
        step: its name.
        firm: whether the export would have called the promise firm; None where the rule knows no such word.
    """

    step: str
    judged: HalfFigures
    other: HalfFigures
    firm: bool | None = None


class Draw(Record):
    """What two rules choose by a random half of the images.

    Args:
        first: the first step that holds all limits, else the one that loses least: what chose also judges.
        margin: as an export chooses, with a margin, and a promise by cross-fitting.
    """

    first: Choice
    margin: Choice


class PromiseRow(Record):
    """One artifact.

    Args:
        artifact: target and precision.
        steps: names of the steps that could be chosen.
        images: of the comparison, all of which are in one of the two halves of each draw.
    """

    artifact: str
    steps: tuple[str, ...]
    images: int
    split: str
    tolerance: Tolerance
    draws: tuple[Draw, ...]


class PromiseStudy(RowsStudy, MeasuredStudy):
    """All artifacts of one run."""

    command: str
    data: str
    student: str
    seed: int
    rows: tuple[PromiseRow, ...] = ()
