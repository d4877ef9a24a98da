"""Cells of flags, one 0 or 1 for each label ("0 1 1", "[0, 1, 1]", "011"), in place of the labels themselves."""

from collections.abc import Callable, Sequence

from mlkdc.data.flags import FLAGS, flag_word
from mlkdc.errors import UsageError


def read_cell(parts: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names whose flags are set."""
    return [name for name, part in zip(names, parts, strict=True) if FLAGS[flag_word(part.strip())]]


def named_flags(
    cells: Sequence[str], split: Callable[[str], list[str]], classes: Sequence[str], where: str
) -> tuple[str, ...]:
    """The labels that the flags in cells stand for; none where cells, split in this way, are no flags.

    Args:
        cells: of the complete column, filled.
        split: a cell into its parts.
        classes: the labels that there are, where the user lists them; else empty.
        where: the file and column, for messages.

    Raises:
        UsageError: nobody says which flag is of which label.
    """
    try:
        # Most columns hold no flags, as the first cell shows.
        if not cells or not _are_flags(split(cells[0])):
            return ()
        width = _width([split(cell) for cell in cells])
    except UsageError:
        return ()  # whoever reads the rows says in which one the fault is
    if width == 0 or width == len(classes):
        return tuple(classes)[:width]
    listed = ""
    if classes:
        listed = f", where there are {len(classes)}"
    raise UsageError(
        f"{where}: {cells[0][:80]!r} seems to be {width} flags, one for each label, and not labels. Name these {width} "
        f"labels in a classes.txt next to the table{listed}, or write one column for each label (and if such a cell is "
        "one label: `--set data.separator=none`, `mlkdc data --separator none`)"
    )


def _are_flags(parts: Sequence[str]) -> bool:
    return bool(parts) and all(part.strip() and flag_word(part.strip()) in FLAGS for part in parts)


def _width(rows: Sequence[Sequence[str]]) -> int:
    """How many flags each row has; 0 where they are not flags: a row of labels names none of them twice."""
    widths = set(map(len, rows))
    if len(widths) != 1 or not any(len(set(row)) < len(row) for row in rows):
        return 0
    if not all(map(_are_flags, rows)):
        return 0
    return widths.pop()
