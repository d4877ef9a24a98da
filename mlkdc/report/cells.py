"""Tables of text cells, and how figures are written in them."""

from dataclasses import dataclass
from typing import Any

DASH = "–"  # not measured, or does not apply


@dataclass(frozen=True)
class Table:
    """Cells as text. ``align``: one letter per column, ``l`` for words and ``r`` for numbers."""

    head: list[str]
    rows: list[list[str]]
    align: str


def number(value: float | None, digits: int = 2) -> str:
    """A figure with fixed decimals and thousands apart, or a dash when there is none."""
    return DASH if value is None else f"{value:,.{digits}f}"


def difference(value: float | None) -> str:
    """A numerical difference: two significant digits."""
    return DASH if value is None else f"{value:.1e}"


def scaled(value: float | None) -> str:
    """A large count with four digits and k, M or G; a small one as it is."""
    if value is None:
        return DASH
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:#.4g}".rstrip(".") + f" {name}"
    return f"{value:,.0f}"


def megabytes(value: float | None) -> str:
    """Bytes as megabytes of a million."""
    return DASH if value is None else f"{value / 1e6:,.2f}"


def times(value: float | None) -> str:
    """A ratio."""
    return DASH if value is None else f"{value:.2f}×"


def threads(count: int) -> str:
    """How many threads, in words."""
    return "1 thread" if count == 1 else f"{count} threads"


def plain(value: Any) -> str:
    """A recorded value as text; a fraction with one decimal."""
    if value is None:
        return DASH
    return f"{value:.1f}" if isinstance(value, float) else str(value)
