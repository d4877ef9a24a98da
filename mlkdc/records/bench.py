"""bench.json: latency, one row for each model and number of threads."""

from typing import Any, ClassVar

from mlkdc.records.base import FileRecord, Milliseconds, Moment, Record
from mlkdc.records.machine import Machine

#: The row that speedups refer to: the run's model in torch.
BASELINE = "torch eager"


class Timing(Record):
    """What one process measured; milliseconds a call.

    Args:
        runs: timed calls.
        warmup_runs: calls before them.
        stable: the warm-up settled, and the calls did not drift or scatter.
    """

    median_ms: Milliseconds
    p90_ms: Milliseconds
    p99_ms: Milliseconds
    mean_ms: Milliseconds
    min_ms: Milliseconds
    runs: int
    warmup_runs: int
    stable: bool


class RowTiming(Record):
    """The medians over several processes; milliseconds a call (``min_ms``: the least).

    Args:
        runs: timed calls in each process.
        passes: processes.
        stable: each process was, and their medians agree.
    """

    median_ms: Milliseconds
    p90_ms: Milliseconds
    p99_ms: Milliseconds
    min_ms: Milliseconds
    runs: int
    passes: int
    stable: bool


class LatencyRow(Record):
    """One model at one number of threads.

    Args:
        size_bytes: of the model files; None where that means nothing.
        timing: None where it could not be timed.
        speedup: the baseline's median over this one, at the same number of threads; None without a baseline.
        skipped: why it could not be timed.
    """

    name: str
    threads: int
    size_bytes: int | None = None
    timing: RowTiming | None = None
    speedup: float | None = None
    skipped: str | None = None


class BenchFile(FileRecord):
    """bench.json.

    Args:
        command: that made it.
        when: in ISO 8601.
        image_size: of the models' input in pixels; None where they differ.
    """

    FILE: ClassVar[str] = "bench.json"
    FORMAT: ClassVar[int] = 2
    REMEDY: ClassVar[str] = "measure again with `mlkdc bench`"

    command: str
    when: Moment
    machine: Machine
    versions: dict[str, str]
    image_size: int | None
    rows: tuple[LatencyRow, ...]

    @classmethod
    def upgraded(cls, written: object, values: dict[str, Any]) -> dict[str, Any] | None:
        """Format 1 had the figures of a row next to its name."""
        if written != 1 or not isinstance(values.get("rows"), list):
            return None
        values["rows"] = [_row_of_format_1(row) for row in values["rows"]]
        return values


def _row_of_format_1(row: Any) -> Any:
    if not isinstance(row, dict):
        return row  # the record says what is wrong with it
    names = ("name", "threads", "size_bytes", "speedup", "skipped")
    kept: dict[str, Any] = {key: row[key] for key in names if key in row}
    if row.get("skipped"):
        return kept
    return {**kept, "timing": {key: row[key] for key in RowTiming.model_fields if key in row}}
