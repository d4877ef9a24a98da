"""The table of latencies, and how they were measured."""

from collections.abc import Sequence

from mlkdc.bench.ratios import LEAST_PASSES
from mlkdc.bench.table import speedup_text, untimed_text
from mlkdc.figures import DASH, counted, megabytes, number
from mlkdc.records.bench import BenchFile
from mlkdc.records.report import LatencyEntry
from mlkdc.report.artifact_tables import FAILED
from mlkdc.tables import Table


def latency_table(entries: Sequence[LatencyEntry]) -> Table:
    """One line for each row of bench.json. Skipped rows say why."""
    head = ["what", "device", "threads", "median, ms", "p90", "first call", "load", "memory, MiB", "size, MB"]
    head += ["mAP, %", "label flips on images", "speedup", "verdict"]
    return Table(head, [_latency_row(entry) for entry in entries], "llrrrrrrrrrrl")


def photo_table(entries: Sequence[LatencyEntry]) -> Table | None:
    """One line for each row that was given photos' files; None where none was."""
    cells = []
    for entry in entries:
        times = entry.photos
        if times is not None:
            figures = (times.megapixels, times.prepare_ms, times.run_ms, times.total_ms, times.p90_ms)
            cells.append([entry.name, entry.device, str(entry.threads), str(times.photos), *map(number, figures)])
    if not cells:
        return None
    head = ["what", "device", "threads", "photos", "megapixels", "decode and resize, ms", "model", "together", "p90"]
    return Table(head, cells, "llrrrrrrr")


def _latency_row(entry: LatencyEntry) -> list[str]:
    timing, accuracy = entry.timing, entry.accuracy
    times = [DASH] * 5
    if timing is not None:
        figures = (timing.median_ms, timing.p90_ms, timing.first_ms, timing.load_ms)
        times = [*map(number, figures), number(timing.peak_mib, 0)]
    flips = DASH
    if accuracy is not None and accuracy.images:
        flips = f"{accuracy.label_flips} on {accuracy.images}"
    return [
        entry.name,
        entry.device,
        str(entry.threads) if entry.imported_from is None else DASH,
        *times,
        megabytes(entry.size_bytes),
        number(entry.map_percent),
        flips,
        speedup_text(entry.speedup),
        _state(entry),
    ]


def _state(entry: LatencyEntry) -> str:
    if entry.timing is None:
        return untimed_text(entry)
    if entry.imported_from is not None:
        return f"{entry.timing.verdict}, imported from {entry.imported_from}"
    if entry.parity == "failed":
        return f"{entry.timing.verdict}, parity {FAILED}"
    return entry.timing.verdict


def latency_conditions(bench: BenchFile | None) -> str:
    """How the rows were timed, in sentences."""
    if bench is None:
        return ""
    batch = "Batch of 1"
    if bench.image_size is not None:
        batch += f" at {bench.image_size} px"
    protocol = bench.protocol
    passes = [row.timing.passes for row in bench.rows if row.timing is not None and row.imported_from is None]
    if not passes:
        return f"{batch}. Nothing was timed."
    if not protocol.least_seconds:
        # Of an earlier version, whose processes had no least time.
        return f"{batch}. Medians of {_range(passes, 'process')} of {protocol.least_runs} calls."
    interval = "with the 95 % bootstrap interval over the passes"
    if not any(row.speedup and row.speedup.low is not None for row in bench.rows):
        interval = f"without an interval, which takes at least {LEAST_PASSES} passes"
    return (
        f"{batch}. Medians of {_range(passes, 'pass')}; in each, a row had one turn, in a process of its own, the rows "
        f"in random order: at least a second of warm-up, then at least {protocol.least_runs} calls and "
        f"{protocol.least_seconds:g} s. Speedup: how many times as fast, paired by pass, {interval}. "
        "Label flips: decisions on the device that differ from the torch model's."
    )


def _range(counts: Sequence[int], noun: str) -> str:
    """How many; rows differ where the measurement was stopped, or their device was lost."""
    least, most = min(counts), counted(max(counts), noun)
    return most if least == max(counts) else f"{least} to {most}"
