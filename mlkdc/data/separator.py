"""What joins the labels in a cell of a table. Tables do not say it; the complete column does, or the user must.

``a|b`` and lists are certain. A comma or a semicolon can be part of a label, and a blank often is ("traffic light"):
they join labels where the parts come back in other cells, and where they do not and could, the table is refused.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mlkdc.errors import UsageError

LIST = "list"
NONE = "none"
WORDS = {
    "comma": ",",
    "semicolon": ";",
    "blank": " ",
    "pipe": "|",
    "tab": "\t",
    "newline": "\n",
    LIST: LIST,
    NONE: NONE,
}
_NAMES = {character: word for word, character in WORDS.items()}
_BRACKETS = {"[": "]", "(": ")", "{": "}"}

#: Of the parts of joined cells, weighted by how often they occur: so many come back in a cell with other labels.
FEW_COME_BACK = 1 / 3
HALF_COME_BACK = 1 / 2
ALL_COME_BACK = 0.9


@dataclass(frozen=True)
class Separator:
    """What joins labels: a character, ``list`` or ``none``; and a sentence for the user where that was not obvious."""

    mark: str
    note: str = ""

    @property
    def words(self) -> str:
        """For messages."""
        return _NAMES.get(self.mark, repr(self.mark))

    def split(self, cell: str) -> list[str]:
        """The labels in a cell, as written; empty ones where nothing is between two separators."""
        if not cell:
            return []
        if self.mark == NONE:
            return [cell]
        if self.mark == LIST:
            return _items(cell)
        if self.mark == " ":
            return cell.split()
        return cell.split(self.mark)


def chosen(word: str) -> Separator:
    """The separator that the user names, by a word or as it is.

    Raises:
        UsageError: nothing.
    """
    if not word:
        raise UsageError(f"data.separator is empty; expected a character or one of {', '.join(WORDS)}")
    return Separator(WORDS.get(word, word))


def detect(cells: Sequence[str], classes: Sequence[str], where: str) -> Separator:
    """The separator of a column of labels.

    Args:
        cells: all of them, stripped.
        classes: the labels that there are, where the user lists them; else empty.
        where: the file and column, for messages.

    Raises:
        UsageError: it is not clear; the message shows a cell and how to say it.
    """
    filled = [cell for cell in cells if cell]
    if filled and all(_BRACKETS.get(cell[0]) == cell[-1] for cell in filled):
        return Separator(LIST, f"{where}: lists of labels, such as {filled[0]}")
    if any("|" in cell for cell in filled):
        return Separator("|")
    counts = Counter(filled)
    listed = _among(counts, classes)
    if listed is not None:
        return listed
    strong = [mark for mark in (";", ",", "\n", "\t") if any(mark in cell.strip(mark) for cell in counts)]
    clear = [mark for mark in strong if _joins(counts, mark)]
    if len(clear) == 1:
        return _noted(where, counts, clear[0])
    if strong:
        raise _unclear(where, counts, strong)
    if not any(" " in cell for cell in counts):
        return Separator(NONE)
    evidence = _evidence(counts, " ")
    if evidence.names():
        example = next(cell for cell in counts if " " in cell)
        return Separator(NONE, f"{where}: one label a cell, such as {example!r}")
    if evidence.blanks_join():
        return _noted(where, counts, " ")
    raise _unclear(where, counts, [" "])


def _noted(where: str, counts: Counter[str], mark: str) -> Separator:
    example = next(cell for cell in counts if mark in cell)
    return Separator(mark, f"{where}: labels are joined by {_NAMES[mark]}s, such as {example!r}")


def _among(counts: Counter[str], classes: Sequence[str]) -> Separator | None:
    """The separator by which every cell consists of known classes."""
    if not classes:
        return None
    known = set(classes)
    for mark in (NONE, ";", ",", "\n", "\t", " "):
        separator = Separator(mark)
        parts = [part.strip() for cell in counts for part in separator.split(cell)]
        if known.issuperset(part for part in parts if part):
            return separator
    return None


@dataclass(frozen=True)
class _Evidence:
    """What speaks for a separator.

    Args:
        kinds: number of different parts.
        combinations: number of different sets of parts.
        sizes: numbers of parts that occur.
        coming_back: fraction of the parts of joined cells that also occur in another set.
        uses_coming_back: the same, each part weighted by the number of sets it is in.
        reordered: whether one set is written in two orders.
    """

    kinds: int
    combinations: int
    sizes: frozenset[int]
    coming_back: float
    uses_coming_back: float
    reordered: bool

    def names(self) -> bool:
        """Whether the parts are words of one label."""
        return self.coming_back <= FEW_COME_BACK and not self.reordered

    def blanks_join(self) -> bool:
        """Whether the parts are labels: all come back, in more sets than there are labels, and in sets of all sizes."""
        if self.uses_coming_back < ALL_COME_BACK:
            return False
        return self.reordered or (self.combinations > self.kinds and len(self.sizes) > 1)


def _evidence(counts: Counter[str], mark: str) -> _Evidence:
    separator = Separator(mark)
    sets: Counter[frozenset[str]] = Counter()
    for cell in counts:
        parts = [part.strip() for part in separator.split(cell)]
        sets[frozenset(part for part in parts if part)] += 1
    sets_with: Counter[str] = Counter()
    for parts_of_set in sets:
        sets_with.update(parts_of_set)
    joined = {part for parts_of_set in sets if len(parts_of_set) > 1 for part in parts_of_set}
    back = [part for part in joined if sets_with[part] > 1]
    uses = sum(sets_with[part] for part in joined)
    uses_back = sum(sets_with[part] for part in back)
    return _Evidence(
        kinds=len(sets_with),
        combinations=len(sets),
        sizes=frozenset(map(len, sets)),
        coming_back=len(back) / max(len(joined), 1),
        uses_coming_back=uses_back / max(uses, 1),
        reordered=any(times > 1 for times in sets.values()),
    )


def _joins(counts: Counter[str], mark: str) -> bool:
    """Whether a mark that is rare in names joins labels."""
    evidence = _evidence(counts, mark)
    return evidence.uses_coming_back >= HALF_COME_BACK or evidence.reordered


def _unclear(where: str, counts: Counter[str], marks: Sequence[str]) -> UsageError:
    example = next(cell for cell in counts if marks[0] in cell.strip(marks[0]))
    words = ", ".join(_NAMES[mark] for mark in marks)
    return UsageError(
        f"{where}: is {example!r} one label or several? Say it with `--set data.separator={_NAMES[marks[0]]}` "
        f"({words}), or `--set data.separator=none` for one label a cell (`mlkdc data --separator ...`)"
    )


def _items(cell: str) -> list[str]:
    """The items of a list as Python, JSON, numpy or Postgres write it."""
    try:
        values = json.loads(cell)
    except ValueError:
        values = _literal(cell)
    if values is None:
        inner = cell[1:-1]
        values = inner.split(",") if inner.strip() else []
    items = []
    for value in values:
        if isinstance(value, (list, tuple, dict, set)):
            raise UsageError(f"expected a list of labels, got {cell[:80]!r}")
        items.append(str(value).strip().strip("'\""))
    return items


def _literal(cell: str) -> Sequence[object] | None:
    # numpy writes no commas, and Python would join neighboring strings.
    apart = re.sub(r"(?<=['\"])\s+(?=['\"])", ", ", cell)
    try:
        value = ast.literal_eval(apart)
    except (ValueError, SyntaxError):
        return None
    if isinstance(value, set):
        return sorted(map(str, value))
    if isinstance(value, (list, tuple)):
        return list(value)
    return [value]
