"""The rows of bench.json for a terminal."""

from collections.abc import Sequence

from mlkdc.bench.devices import short_name, short_names
from mlkdc.figures import DASH, counted, number
from mlkdc.records.bench import BenchFile, LatencyRow, Lost, PhotoTiming, Speedup, Turn
from mlkdc.tables import Table


def bench_tables(figures: BenchFile) -> dict[str, list[Table]]:
    """For each device with rows, by its short name: what decides, and the rest; 80 columns do not hold both."""
    names = short_names(figures)
    tables: dict[str, list[Table]] = {}
    for device in figures.devices:
        rows = [row for row in figures.rows if row.device == device]
        if rows:
            tables[names[device]] = [_decisive(rows), _rest(rows)]
    return tables


def _decisive(rows: Sequence[LatencyRow]) -> Table:
    cells = []
    for row in rows:
        map_percent = number(row.accuracy.map_percent) if row.accuracy else DASH
        median_ms, p90_ms, verdict = DASH, DASH, untimed_text(row)
        if row.timing is not None:
            median_ms, p90_ms, verdict = number(row.timing.median_ms), number(row.timing.p90_ms), row.timing.verdict
        cells.append([row.name, _threads(row), median_ms, p90_ms, map_percent, speedup_text(row.speedup), verdict])
    return Table(["model", "threads", "median ms", "p90", "mAP %", "speedup", "verdict"], cells, "lrrrrll")


def _rest(rows: Sequence[LatencyRow]) -> Table:
    cells = []
    for row in rows:
        first_ms = load_ms = peak_mib = flips = DASH
        if row.timing is not None:
            first_ms, load_ms = number(row.timing.first_ms), number(row.timing.load_ms)
            peak_mib = number(row.timing.peak_mib, 0)
        if row.accuracy is not None and row.accuracy.images:
            flips = str(row.accuracy.label_flips)
        cells.append([row.name, _threads(row), row.precision or DASH, first_ms, load_ms, peak_mib, flips])
    head = ["model", "threads", "precision", "first call ms", "load ms", "memory MiB", "label flips"]
    return Table(head, cells, "lrlrrrr")


def _threads(row: LatencyRow) -> str:
    """Another tool does not say with how many."""
    return str(row.threads) if row.threads else DASH


def untimed_text(row: LatencyRow) -> str:
    """Why a row has no timing; without a reason, the measurement was stopped before its first turn."""
    return "not measured yet" if row.skipped is None else f"skipped: {row.skipped}"


def speedup_text(speedup: Speedup | None) -> str:
    """How many times as fast, with its interval."""
    if speedup is None:
        return DASH
    text = f"{speedup.value:.2f}x"
    if speedup.low is not None and speedup.high is not None:
        text += f" [{speedup.low:.2f}, {speedup.high:.2f}]"
    return text


def remarks(figures: BenchFile) -> list[str]:
    """A sentence for each row that cannot be relied on, each device with limits, and each that was lost."""
    names = short_names(figures)
    sentences: list[str] = []
    for row in figures.rows:
        where = f"{row.name} on {names[row.device]}"
        if row.threads:
            where += f", threads {row.threads}"
        sentences += [f"{where}: {remark}" for remark in _on_row(row)]
    sentences += _on_answers(figures.rows, names)
    for lost in figures.lost:
        asked = any(row.accuracy is not None for row in figures.rows if row.device == lost.device)
        sentences.append(_on_lost(lost, names[lost.device], asked))
    for device, info in figures.devices.items():
        sentences += [f"{names[device]}: {note}" for note in info.notes]
    return sentences


def _on_row(row: LatencyRow) -> list[str]:
    said = []
    if row.timing is not None and row.timing.why:
        said.append(f"{row.timing.verdict}, {row.timing.why}")
    if row.accuracy is not None and row.accuracy.within_tolerance is False:
        said.append(f"its answers differ from the torch model's by up to {row.accuracy.max_probability_difference:.2g}")
    if row.sustained is not None:
        said.append(_sustained(row.sustained))
    if row.photos is not None:
        said.append(_photos(row.photos))
    if row.photos_missing is not None:
        said.append(f"no photos timed: {row.photos_missing}")
    if row.sustained_missing is not None:
        said.append(f"no sustained load: {row.sustained_missing}")
    return said


def _photos(times: PhotoTiming) -> str:
    return (
        f"a photo of {number(times.megapixels)} megapixels takes {number(times.total_ms)} ms from its file, "
        f"{number(times.prepare_ms)} of them to decode and resize it (median of {times.photos})"
    )


def _sustained(turn: Turn) -> str:
    """The first minute and the last; thirds where there are no two minutes."""
    if len(turn.minute_ms) > 1:
        first, last = turn.minute_ms[0], turn.minute_ms[-1]
        percent = 100 * last / first - 100
        return f"without a pause {number(first)} ms in the first minute, {number(last)} in the last ({percent:+.0f} %)"
    said = f"{number(turn.median_ms)} ms under a sustained load"
    if turn.drift is not None:
        said += f", its last third {100 * turn.drift - 100:+.0f} % against its first"
    return said


def _on_answers(rows: Sequence[LatencyRow], names: dict[str, str]) -> list[str]:
    """Why answers are missing, each reason once: of a device that was lost, or for all that was measured."""
    sentences = []
    for row in rows:
        if row.accuracy_missing is None:
            continue
        if row.accuracy is None:
            sentences.append(f"answers not compared: {row.accuracy_missing}")
        else:
            sentences.append(f"{row.name} on {names[row.device]}: {row.accuracy_missing}")
    return list(dict.fromkeys(sentences))


def _on_lost(lost: Lost, name: str, asked: bool) -> str:
    why = lost.why
    for called in (lost.device, short_name(lost.device)):
        why = why.removeprefix(f"{called} was lost: ").removeprefix(f"{called}: ")
    if lost.after:
        return f"{name} was lost after {counted(lost.after, 'turn')}: {why}"
    if asked:
        return f"{name} was lost before its first turn: {why}"
    return f"{name} was not measured: {why}"
