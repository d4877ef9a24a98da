"""One column per label: which of its cells mean that an image has the label."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlkdc.errors import UsageError
from mlkdc.figures import counted, first_few

FLAGS = {
    **dict.fromkeys(("1", "1.0", "true"), True),
    **dict.fromkeys(("0", "0.0", "false", "-1", "-1.0", ""), False),
}
#: As numbers, however they are written: +1, 1.00, 1.000e+00.
NUMBERS = (-1, 0, 1)
#: Of a column that holds something else than flags.
SHOWN_CELLS = 3
#: Words that say as much, the positive one first. They are read where a column holds nothing else: in a table of words
#: they can be values of something else.
PAIRS = (("yes", "no"), ("y", "n"), ("t", "f"), ("x",))
#: Those by which a column is taken for a label, and refused where it holds others as well.
WORDS = ("yes", "no", "y", "n", "x")


@dataclass(frozen=True)
class Flagged:
    """Labels by row, and how the flags were understood."""

    labels: list[tuple[str, ...]]
    notes: tuple[str, ...]


def flag_word(cell: str) -> str:
    """A cell as ``FLAGS`` has it."""
    word = cell.lower()
    if word in FLAGS:
        return word
    try:
        number = float(word)
    except ValueError:
        return word
    if number not in NUMBERS:
        return word
    return str(int(number))


def in_words(cells: Iterable[str]) -> dict[str, bool] | None:
    """What the words of a column mean, which holds one of ``PAIRS`` and empty cells only; None for any other column."""
    words = set(cells) - {""}
    for pair in PAIRS:
        # A column of f alone can mean anything.
        if words and words <= set(pair) and words != {"f"}:
            return {pair[0]: True, **dict.fromkeys((*pair[1:], ""), False)}
    return None


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
    meanings = [in_words(cells[column].lower() for _, cells in rows) or FLAGS for column in range(len(names))]
    for line, cells in rows:
        positive = []
        for name, cell, meaning in zip(names, cells, meanings, strict=True):
            flag = flag_word(cell)
            if flag not in meaning:
                strange = _strange(rows, names.index(name))
                raise UsageError(
                    f"{where} row {line}: column {name!r} holds {strange}, expected 0 or 1 (also true, false, -1, or a "
                    "complete column of yes and no, y and n, t and f, x), as there is no column 'labels'; delete the "
                    "column if it is no label"
                )
            seen[flag.removesuffix(".0")] += 1
            if meaning[flag]:
                positive.append(name)
        labels.append(tuple(positive))
    return Flagged(labels, _notes(where, seen))


def _strange(rows: Sequence[tuple[int, Sequence[str]]], column: int) -> str:
    """What a column holds that is no flag."""
    cells = dict.fromkeys(cells[column] for _, cells in rows if flag_word(cells[column]) not in FLAGS)
    return first_few(map(repr, cells), SHOWN_CELLS)


def _rest(negative: Sequence[str]) -> str:
    return " and ".join([*map(repr, negative), "an empty cell"])


def _notes(where: str, seen: Counter[str]) -> tuple[str, ...]:
    notes = []
    for positive, *negative in PAIRS:
        if seen[positive] or any(seen[word] for word in negative):
            notes.append(f"{where}: {positive!r} in a column is read as its label, {_rest(negative)} as none")
    if seen["-1"] and (seen["0"] or seen["false"]):
        notes.append(f"{where} holds -1, 0 and 1: only 1 is a label; 0 ({seen['0']}) and -1 ({seen['-1']}) are none")
    elif seen["-1"]:
        notes.append(f"{where} holds 1 and -1: -1 is read as no label")
    if seen[""]:
        notes.append(f"{where}: {counted(seen[''], 'empty cell')} in columns of labels, read as no label")
    return tuple(notes)
