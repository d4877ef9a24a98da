"""The table of latencies, and how they were measured."""

from collections.abc import Sequence

from mlkdc.figures import DASH, megabytes, number, ratio
from mlkdc.records.bench import BASELINE, BenchFile
from mlkdc.records.report import LatencyEntry
from mlkdc.report.artifact_tables import FAILED
from mlkdc.tables import Table


def latency_table(entries: Sequence[LatencyEntry]) -> Table:
    """One line for each row of bench.json. Skipped rows say why."""
    head = ["what", "threads", "median, ms", "p90", "p99", "mAP, %", "size, MB", "speedup", "state"]
    return Table(head, [_latency_row(entry) for entry in entries], "lrrrrrrrl")


def _latency_row(entry: LatencyEntry) -> list[str]:
    timing = entry.timing
    if timing is None:
        times = [DASH, DASH, DASH]
    else:
        times = [number(timing.median_ms), number(timing.p90_ms), number(timing.p99_ms)]
    return [
        entry.name,
        str(entry.threads),
        *times,
        number(entry.map_percent),
        megabytes(entry.size_bytes),
        ratio(entry.speedup),
        _state(entry),
    ]


def _state(entry: LatencyEntry) -> str:
    if entry.timing is None:
        return f"skipped: {entry.skipped}"
    state = "unstable"
    if entry.timing.stable:
        state = "stable"
    if entry.parity == "ok":
        return f"{state}, parity ok"
    if entry.parity == "failed":
        return f"{state}, parity {FAILED}"
    return state


def latency_conditions(bench: BenchFile | None) -> str:
    """How the rows were timed, in sentences."""
    batch = "Batch of 1"
    if bench is not None and bench.image_size is not None:
        batch += f" at {bench.image_size} px"
    return (
        f"{batch}. Each row ran in separate processes, after a warm-up. Speedup: how many times as fast as the "
        f"baseline, {BASELINE}, with as many threads."
    )
