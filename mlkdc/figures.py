"""How figures are written for people. What is not known, or does not apply, is a dash."""

from collections.abc import Iterable

DASH = "–"


def number(value: float | None, digits: int = 2) -> str:
    """A figure with fixed decimals and a comma between thousands; never a negative zero."""
    if value is None:
        return DASH
    return f"{_no_negative_zero(value, digits):,.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """A difference with its sign; zero has none."""
    if value is None:
        return DASH
    rounded = _no_negative_zero(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{rounded:.{digits}f}"


def drop_words(drop: float) -> str:
    """``drops by 0.40``; a negative drop is a gain, and said as one: ``rises by 0.40``."""
    verb = "rises" if _no_negative_zero(drop, 2) < 0 else "drops"
    return f"{verb} by {number(abs(drop))}"


def drop_range(drop: float, interval: tuple[float, float]) -> str:
    """The interval of a drop next to :func:`drop_words`, turned where that says a gain: ``-0.10 to 0.90``."""
    low, high = interval
    if _no_negative_zero(drop, 2) < 0:
        low, high = -high, -low
    return f"{number(low)} to {number(high)}"


def scientific(value: float | None) -> str:
    """A numerical difference: two significant digits."""
    return DASH if value is None else f"{value + 0.0:.1e}"


def scaled(value: float | None) -> str:
    """A large count with four digits and k, M or G; a small one as it is."""
    if value is None:
        return DASH
    # What is rounded up to the next unit is written in it.
    rounded = float(f"{round(value):.4g}")
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rounded >= unit:
            return f"{value / unit:#.4g}".rstrip(".") + f" {name}"
    return f"{value:,.0f}"


def megabytes(size_bytes: float | None, digits: int = 2) -> str:
    """Bytes as megabytes of a million."""
    return DASH if size_bytes is None else number(size_bytes / 1e6, digits)


def ratio(value: float | None, digits: int = 2) -> str:
    """How many times."""
    return DASH if value is None else f"{value:.{digits}f}x"


def threads(count: int) -> str:
    """A number of threads in words."""
    return "1 thread" if count == 1 else f"{count} threads"


def counted(count: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def first_few(names: Iterable[str], most: int) -> str:
    """The first names in a row, and dots where there are more."""
    listed = list(names)
    shown = listed[:most]
    if len(listed) > most:
        shown.append("...")
    return ", ".join(shown)


def _no_negative_zero(value: float, digits: int) -> float:
    return round(value, digits) + 0.0
