"""One column per label: which of its cells mean that an image has the label."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mlkdc.errors import UsageError
from mlkdc.figures import counted

FLAGS = {
    **dict.fromkeys(("1", "1.0", "true"), True),
    **dict.fromkeys(("0", "0.0", "false", "-1", "-1.0", ""), False),
}
#: Words that say as much and are not read: in a table of words they can be values of something else.
WORDS = ("yes", "no", "y", "n", "x")


@dataclass(frozen=True)
class Flagged:
    """Labels by row, and how the flags were understood."""

    labels: list[tuple[str, ...]]
    notes: tuple[str, ...]


def read_flags(where: str, names: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]]) -> Flagged:
    """The labels of each row, whose cells are flags in the order of ``names``.

    Args:
        where: the file.
        names: of the labels.
        rows: line number and cells.

    Raises:
        UsageError: a cell is no flag.
    """
    labels = []
    seen: Counter[str] = Counter()
    for line, cells in rows:
        positive = []
        for name, cell in zip(names, cells, strict=True):
            flag = cell.lower()
            if flag not in FLAGS:
                raise UsageError(
                    f"{where} row {line}: column {name!r} holds {cell!r}, expected 0 or 1 (also true, false, -1), as "
                    "there is no column 'labels'; delete the column if it is no label"
                )
            seen[flag.removesuffix(".0")] += 1
            if FLAGS[flag]:
                positive.append(name)
        labels.append(tuple(positive))
    return Flagged(labels, _notes(where, seen))


def _notes(where: str, seen: Counter[str]) -> tuple[str, ...]:
    notes = []
    if seen["-1"] and (seen["0"] or seen["false"]):
        notes.append(f"{where} holds -1, 0 and 1: only 1 is a label; 0 ({seen['0']}) and -1 ({seen['-1']}) are none")
    elif seen["-1"]:
        notes.append(f"{where} holds 1 and -1: -1 is read as no label")
    if seen[""]:
        notes.append(f"{where}: {counted(seen[''], 'empty cell')} in columns of labels, read as no label")
    return tuple(notes)
