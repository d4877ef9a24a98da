"""promise.json: whether limits that held on some images hold on others."""

from study_records import StudyFile

from mlkdc.records.base import Record
from mlkdc.records.machine import Machine
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


class Draw(Record):
    """A random half, and the other images."""

    judged: HalfFigures
    other: HalfFigures


class PromiseRow(Record):
    """One artifact.

    Args:
        artifact: target and precision.
        steps: how many the int8 ladder made, on all of the images; the last one is the artifact.
        images: of the comparison, all of which are in one of the two halves of each draw.
    """

    artifact: str
    steps: int
    images: int
    split: str
    tolerance: Tolerance
    draws: tuple[Draw, ...]


class PromiseStudy(StudyFile):
    """All artifacts of one run."""

    command: str
    data: str
    student: str
    seed: int
    versions: dict[str, str]
    machine: Machine
    rows: tuple[PromiseRow, ...] = ()
