"""report.json: everything about one run, gathered from the files in its folder."""

from typing import ClassVar

from pydantic import Field

from mlkdc.recipe import Recipe
from mlkdc.records.base import FileRecord, Record
from mlkdc.records.bench import BenchFile, LatencyRow, Turn
from mlkdc.records.manifest import Manifest, Status
from mlkdc.records.results import Epoch, Results


class LatencyEntry(LatencyRow):
    """A row of bench.json with the accuracy of what it timed.

    Args:
        map_percent: mAP on the device, else in the parity check; None where it is not known.
        map_images: how many images that is of.
        parity: status of the artifact; None for a row that is not an artifact of the run, or of its earlier files.
        turns, sustained: for charts; report.json has them once, in ``bench``.
    """

    turns: tuple[Turn, ...] = Field(default=(), exclude=True)
    sustained: Turn | None = Field(default=None, exclude=True)

    map_percent: float | None = None
    map_images: int | None = None
    parity: Status | None = None


class Missing(Record):
    """For each part of a report that is absent: why, and what to run. None for a part that is there."""

    history: str | None = None
    artifacts: str | None = None
    bench: str | None = None


class Recommended(Record):
    """What to ship on one device.

    Args:
        name: of the artifact; None where none fits.
        threads: to run it with.
        why: what it reaches; where none fits, what comes nearest.
    """

    device: str
    name: str | None
    threads: int | None
    why: str


class ToShip(Record):
    """What to ship within a budget.

    Args:
        budget_ms: a call may take.
        least_map_percent: mAP that it has at least; None = any.
    """

    budget_ms: float
    least_map_percent: float | None
    devices: tuple[Recommended, ...]


class Command(Record):
    """A command line and what it did, or does when it is run again."""

    what: str
    command: str


class Report(FileRecord):
    """report.json.

    Args:
        mlkdc_version: that wrote it.
        created: when, in ISO 8601.
        run: path of the run folder.
        results, recipe, history, bench: the files of the run folder.
        recipe_yaml: the resolved recipe as the run folder has it.
        artifacts: manifests by folder name; those that cannot be read are named in the notes.
        latency: the rows of ``bench``, with the accuracy of what they timed.
        best: the fastest of them that can be shipped; the baseline where none can.
        to_ship: within the budget that was given; None without one.
        missing: what to run for each absent part.
        notes: what a reader must know before trusting the figures; commands stand between backticks.
        commands: that made the run, and that make its artifacts again.
    """

    FILE: ClassVar[str] = "report.json"
    FORMAT: ClassVar[int] = 3
    REMEDY: ClassVar[str] = "write it again with `mlkdc report`"

    mlkdc_version: str
    created: str
    run: str
    results: Results
    recipe: Recipe
    recipe_yaml: str
    history: tuple[Epoch, ...]
    bench: BenchFile | None
    artifacts: dict[str, Manifest]
    latency: tuple[LatencyEntry, ...]
    best: LatencyEntry | None
    to_ship: ToShip | None = None
    missing: Missing
    notes: tuple[str, ...]
    commands: tuple[Command, ...]
