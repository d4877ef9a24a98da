"""The charts of one device: accuracy against latency, every call, and the minutes of a sustained load."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlkdc.figures import DASH, megabytes, number, threads
from mlkdc.records.bench import BenchFile, LatencyRow, RowTiming
from mlkdc.records.report import LatencyEntry
from mlkdc.records.shipping import fault
from mlkdc.report.charts import line_chart
from mlkdc.report.curves import Chart
from mlkdc.report.pareto import Mark, pareto_plot
from mlkdc.report.strips import Strip, strip_chart
from mlkdc.report.svg import COLORS, Point

PARETO_TITLE = "Up and to the left is better"
STRIPS_TITLE = "Every call: one line for each process, its median marked"


@dataclass(frozen=True)
class DeviceCharts:
    """What is drawn of one device; nothing where nothing was measured there.

    Args:
        device: its name.
        pareto: None where no row has both latency and accuracy.
        strips: None where no single calls are known.
        sustained: per-minute medians, where a load was sustained.
    """

    device: str
    pareto: Chart | None
    strips: Chart | None
    sustained: list[Chart]


def device_charts(bench: BenchFile | None, entries: Sequence[LatencyEntry]) -> list[DeviceCharts]:
    """Of each device that has anything to show, in order."""
    listed = []
    for device in bench.devices if bench else ():
        rows = [entry for entry in entries if entry.device == device]
        counts = sorted({entry.threads for entry in rows})
        charts = DeviceCharts(device, _pareto(rows, counts), _strips(rows, counts), _sustained(rows))
        if charts.pareto or charts.strips or charts.sustained:
            listed.append(charts)
    return listed


def described(row: LatencyRow) -> str:
    """A row's name in a chart; what another tool measured says so, and its threads are not known."""
    if row.imported_from is not None:
        return f"{row.name}, from {row.imported_from}"
    return f"{row.name}, {threads(row.threads)}"


def _pareto(rows: Sequence[LatencyEntry], counts: Sequence[int]) -> Chart | None:
    """One color and shape for each number of threads."""
    marks = []
    for entry in rows:
        if entry.timing is not None and entry.map_percent is not None:
            marks.append(_mark(entry, entry.timing, entry.map_percent, counts.index(entry.threads)))
    if not marks:
        return None
    svg = pareto_plot(marks, x_label="median latency, ms", y_label="mAP, %")
    return Chart(PARETO_TITLE, [threads(count) for count in counts], svg)


def _mark(entry: LatencyEntry, timing: RowTiming, map_percent: float, group: int) -> Mark:
    medians = [turn.median_ms for turn in entry.turns] or [timing.median_ms]
    low, high = min(medians), max(medians)
    label = entry.name
    if entry.parity == "failed":
        label += " (failed)"
    tip = f"{described(entry)}: {number(timing.median_ms)} ms"
    if low < high:
        tip += f" (turns {number(low)} to {number(high)})"
    tip += f", mAP {number(map_percent)}"
    if megabytes(entry.size_bytes) != DASH:
        tip += f", {megabytes(entry.size_bytes)} MB"
    return Mark(
        x=timing.median_ms,
        y=map_percent,
        low=low,
        high=high,
        label=label,
        tip=f"{tip}, {timing.verdict}",
        group=group,
        size_bytes=entry.size_bytes,
        # A row of earlier files, or of an artifact that is gone, has no parity.
        ships=(entry.parity is not None or not entry.of_artifact) and not fault(entry, entry.parity),
    )


def _strips(rows: Sequence[LatencyEntry], counts: Sequence[int]) -> Chart | None:
    strips = []
    for entry in rows:
        if entry.timing is None or not any(turn.samples_us for turn in entry.turns):
            continue
        title = f"{described(entry)}: {number(entry.timing.median_ms)} ms, {entry.timing.verdict}"
        strips.append(Strip(title, counts.index(entry.threads), entry.turns))
    if not strips:
        return None
    return Chart(STRIPS_TITLE, [], strip_chart(strips, "ms (log scale)"))


def _sustained(rows: Sequence[LatencyEntry]) -> list[Chart]:
    """As many lines in a chart as there are colors."""
    series: dict[str, list[Point]] = {}
    for entry in rows:
        if entry.sustained is not None and entry.sustained.minute_ms:
            series[described(entry)] = [(minute, ms) for minute, ms in enumerate(entry.sustained.minute_ms, start=1)]
    names, charts = list(series), []
    for start in range(0, len(names), COLORS):
        part = {name: series[name] for name in names[start : start + COLORS]}
        svg = line_chart(part, x_label="minute", y_label="median of the minute, ms")
        charts.append(Chart("Without a pause", list(part), svg))
    return charts
