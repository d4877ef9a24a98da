"""What surrounded each row's processes, as far as the device said."""

from collections.abc import Callable, Sequence

from mlkdc.figures import DASH, number
from mlkdc.records.bench import Conditions
from mlkdc.records.report import LatencyEntry
from mlkdc.tables import Table

#: From the conditions of one turn to its figures; empty where they are not known.
Figures = Callable[[Conditions], Sequence[float | None]]


def conditions_table(entries: Sequence[LatencyEntry]) -> Table | None:
    """One line for each row of which something is known, one column for what any device said; None for nothing."""
    shown = [entry for entry in entries if any(turn.conditions != Conditions() for turn in entry.turns)]
    columns = {}
    for title, cell in _COLUMNS.items():
        cells = [cell([turn.conditions for turn in entry.turns]) for entry in shown]
        if any(text != DASH for text in cells):
            columns[title] = cells
    if not columns:
        return None
    rows = []
    for number_, entry in enumerate(shown):
        rows.append([entry.name, entry.device, str(entry.threads), *[cells[number_] for cells in columns.values()]])
    return Table(["what", "device", "threads", *columns], rows, "llr" + "r" * len(columns))


def _range(figures: Figures, digits: int = 0, factor: float = 1) -> Callable[[Sequence[Conditions]], str]:
    """From the least to the largest figure of all turns."""

    def cell(turns: Sequence[Conditions]) -> str:
        values = [factor * value for turn in turns for value in figures(turn) if value is not None]
        if not values:
            return DASH
        low, high = number(min(values), digits), number(max(values), digits)
        return low if low == high else f"{low} to {high}"

    return cell


def _words(turns: Sequence[Conditions], of: Callable[[Conditions], str | None]) -> str:
    """What the turns say, each once; ``none`` where a device reports and has nothing to say."""
    said = dict.fromkeys(of(turn) for turn in turns)
    words = [word or "none" for word in said if word is not None]
    return ", ".join(words) or DASH


_COLUMNS: dict[str, Callable[[Sequence[Conditions]], str]] = {
    "waited for a core, %": _range(lambda turn: [turn.waited], 1, 100),
    "had a core, %": _range(lambda turn: [turn.cpu_fraction], 0, 100),
    "temperature, °C": _range(lambda turn: turn.celsius or ()),
    "clock, MHz": _range(lambda turn: turn.mhz or ()),
    "throttled": lambda turns: _words(turns, lambda turn: turn.throttled),
    "governor": lambda turns: _words(turns, lambda turn: turn.governor),
    "load": _range(lambda turn: [turn.load], 1),
    "free memory, MiB": _range(lambda turn: [turn.free_mib]),
    "cooled, s": _range(lambda turn: [turn.cooled_seconds or None]),
}
