"""reproducedSEED.json: a published table next to our runs of its rows."""

from typing import ClassVar

from mlkdc.records.base import FileRecord, Record
from mlkdc.records.machine import Machine
from mlkdc.records.results import DataFacts


class Figure(Record):
    """One metric in percent; the difference is ours minus the published one. None: not known."""

    published: float | None
    ours: float | None
    difference: float | None


class Entry(Record):
    """One cell of the table: a method on a row's pair of models.

    Args:
        row: of the table, named after its recipe.
        method: of the table, or ``teacher``.
        metrics: by the table's own names.
        run: name of the run folder.
    """

    row: str
    method: str
    metrics: dict[str, Figure]
    run: str
    recipe_hash: str
    scored_on: str
    training_seconds: float
    data: DataFacts
    versions: dict[str, str]
    machine: Machine


class Reproduction(FileRecord):
    """All finished runs of one table and seed.

    Args:
        table: name, as ``mlkdc reproduce`` takes it.
        title: paper, number, subject.
        metrics: our metric by the table's name of it.
        settings: ``key=value`` over every recipe.
        rows: in the order of the table.
    """

    FILE: ClassVar[str] = "reproduced.json"
    FORMAT: ClassVar[int] = 2
    REMEDY: ClassVar[str] = "write it again with `mlkdc reproduce`"

    table: str
    title: str
    metrics: dict[str, str]
    command: str
    seed: int
    settings: tuple[str, ...]
    rows: tuple[Entry, ...]
