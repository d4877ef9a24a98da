"""The rows of bench.json for a terminal."""

from mlkdc.figures import DASH, counted, number
from mlkdc.records.bench import BenchFile, LatencyRow, Speedup, Turn
from mlkdc.tables import Table


def bench_table(figures: BenchFile) -> Table:
    """One line for each row; what they leave out is in the report."""
    head = ["model", "threads", "median ms", "p90", "mAP %", "flips", "speedup", "verdict"]
    align = "lrrrrrrl"
    several = len(figures.devices) > 1
    if several:
        head, align = ["model", "device", *head[1:]], f"l{align}"
    rows = []
    for row in figures.rows:
        cells = _cells(row)
        if several:
            cells.insert(1, short_name(row.device))
        rows.append(cells)
    return Table(head, rows, align)


def _cells(row: LatencyRow) -> list[str]:
    timing, accuracy = row.timing, row.accuracy
    flips = map_percent = DASH
    threads = str(row.threads) if row.threads else DASH
    if accuracy is not None:
        map_percent = number(accuracy.map_percent)
        if accuracy.images:
            flips = str(accuracy.label_flips)
    if timing is None:
        return [row.name, threads, DASH, DASH, map_percent, flips, DASH, f"skipped: {row.skipped}"]
    times = [number(timing.median_ms), number(timing.p90_ms)]
    return [row.name, threads, *times, map_percent, flips, speedup_text(row.speedup), timing.verdict]


def speedup_text(speedup: Speedup | None) -> str:
    """How many times as fast, with its interval."""
    if speedup is None:
        return DASH
    text = f"{speedup.value:.2f}x"
    if speedup.low is not None and speedup.high is not None:
        text += f" [{speedup.low:.2f}, {speedup.high:.2f}]"
    return text


def short_name(device: str) -> str:
    """A device without how it is measured: ``ssh://pi@kitchen`` of ``ssh://pi@kitchen?python=/opt/python3``."""
    return device.partition("?")[0]


def _sustained(turn: Turn) -> str:
    grew = 100 * (turn.drift or 1) - 100
    return f"{number(turn.median_ms)} ms under a sustained load, its last third {grew:+.0f} % against its first"


def remarks(figures: BenchFile) -> list[str]:
    """A sentence for each row that cannot be relied on, each device with limits, and each that was lost."""
    sentences = []
    for row in figures.rows:
        where = f"{row.name} on {short_name(row.device)}"
        if row.threads:
            where += f", threads {row.threads}"
        if row.timing is not None and row.timing.why:
            sentences.append(f"{where}: {row.timing.verdict}, {row.timing.why}")
        if row.accuracy is not None and row.accuracy.within_tolerance is False:
            difference = row.accuracy.max_probability_difference
            sentences.append(f"{where}: its answers differ from the torch model's by up to {difference:.2g}")
        if row.sustained is not None and row.sustained.drift is not None:
            sentences.append(f"{where}: {_sustained(row.sustained)}")
    missing = {row.accuracy_missing for row in figures.rows if row.accuracy_missing}
    sentences += [f"answers not compared: {reason}" for reason in sorted(missing)]
    for lost in figures.lost:
        name = short_name(lost.device)
        why = lost.why.removeprefix(f"{name}: ").removeprefix(f"{name} was lost: ")
        if lost.after:
            sentences.append(f"{name} was lost after {counted(lost.after, 'turn')}: {why}")
        else:
            sentences.append(f"{name} was not measured: {why}")
    for name, device in figures.devices.items():
        sentences += [f"{short_name(name)}: {note}" for note in device.notes]
    return sentences
