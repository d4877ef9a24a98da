"""What joins the labels in a cell of a table. Tables do not say it; the complete column does, or the user must.

``a|b`` and lists are certain. A comma or a semicolon can be part of a label, and a blank often is ("traffic light"):
they join labels where the parts come back in other cells, and where they do not and could, the table is refused. So is
one where any other mark could join labels, and one whose cells hold flags of labels that nothing names.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlkdc.data.cell_lists import is_list, items
from mlkdc.data.evidence import evidence
from mlkdc.data.flag_cells import named_flags, read_cell
from mlkdc.errors import UsageError, nearest

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
#: Those of other scripts are not part of a name.
STRONG = (";", ",", "\n", "\t", "、", "，", "；")


@dataclass(frozen=True)
class Separator:
    """How labels are written in a cell.

    Args:
        mark: what joins them: a character, ``list`` or ``none``.
        note: a sentence for the user where that was not obvious.
        flags_of: where cells hold flags, 0 or 1, in place of labels: the labels that they stand for.
    """

    mark: str
    note: str = ""
    flags_of: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """For messages."""
        return _NAMES.get(self.mark, repr(self.mark))

    def split(self, cell: str) -> list[str]:
        """The labels in a cell, as written; empty ones where nothing is between two separators."""
        if not cell:
            return []
        if self.flags_of:
            return read_cell(self.parts(cell), self.flags_of)
        if self.mark == NONE:
            return [cell]
        return self.parts(cell)

    def parts(self, cell: str) -> list[str]:
        """What is written in a cell that is not empty; of one that nothing joins, its characters."""
        if self.mark == NONE:
            return list(cell)
        if self.mark == LIST:
            return items(cell)
        if self.mark == " ":
            return cell.split()
        return cell.split(self.mark)


def chosen(word: str) -> Separator:
    """The separator that the user names, by a word or as it is.

    Raises:
        UsageError: it is empty, or a word that stands for none.
    """
    if not word:
        raise UsageError(f"data.separator is empty; expected a character or one of {', '.join(WORDS)}")
    mark = WORDS.get(word.lower(), word)
    # A mistyped word would join nothing, and every combination of labels would be one.
    if len(mark) > 1 and mark.isalpha() and mark not in (LIST, NONE):
        raise UsageError(f"unknown data.separator {word!r}; {nearest(word.lower(), WORDS)}, or the mark as it is")
    return Separator(mark)


def unseen(cells: Sequence[str], said: Separator, where: str) -> Separator:
    """The separator that the user names, with a note where it is in none of the cells.

    Args:
        cells, where: of :func:`detect`.
    """
    if not cells or said.mark == LIST or any(len(said.parts(cell)) > 1 for cell in cells):
        return said
    return replace(said, note=f"{where}: {said.words} is in no cell, so that each cell is one label")


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
    if filled and all(map(is_list, filled)):
        return Separator(LIST, f"{where}: lists of labels, such as {filled[0]}")
    _refuse_some_lists(filled, where)
    if any("|" in cell for cell in filled):
        _refuse_mixed(filled, where)
        return Separator("|")
    counts = Counter(filled)
    listed = _among(counts, classes)
    if listed is not None:
        return listed
    strong = [mark for mark in STRONG if any(mark in cell.strip(mark) for cell in counts)]
    clear = [mark for mark in strong if evidence(counts, Separator(mark).split).marks_join()]
    if len(clear) == 1:
        return _noted(where, counts, clear[0])
    if strong:
        raise _unclear(where, counts, strong)
    for mark in _rare_marks(counts):
        if _made_of_others(counts, mark) or evidence(counts, Separator(mark).split).blanks_join():
            raise _unclear(where, counts, [mark])
    return _blanks(counts, where)


def of_flags(cells: Sequence[str], classes: Sequence[str], where: str, chosen: Separator | None) -> Separator | None:
    """The separator of a column whose cells hold flags, 0 or 1 for each label, in place of labels; None for others.

    Args:
        cells: all of them, stripped.
        classes: as for :func:`detect`.
        where: as for :func:`detect`.
        chosen: the one that the user names; None tries all.

    Raises:
        UsageError: nobody says which flag is of which label.
    """
    filled = [cell for cell in cells if cell]
    candidates = [Separator(mark) for mark in (LIST, ",", ";", "|", " ", NONE)]
    if chosen is not None:
        candidates = [chosen]
    for separator in candidates:
        if separator.mark == LIST and not all(map(is_list, filled)):
            continue
        names = named_flags(filled, separator.parts, classes, where)
        if names:
            note = f"{where}: flags, such as {filled[0]}, of the labels in classes.txt"
            return replace(separator, flags_of=names, note=note)
    return None


def _refuse_some_lists(filled: Sequence[str], where: str) -> None:
    lists = [cell for cell in filled if is_list(cell) and cell[0] in "[{"]
    if not lists:
        return
    other = next(cell for cell in filled if not is_list(cell))
    raise UsageError(
        f"{where}: some cells are lists, such as {lists[0][:80]}, and others are not, such as {other[:80]!r}; write "
        "all of them in one way, or, if each is one label: --set data.separator=none (`mlkdc data --separator none`)"
    )


def _rare_marks(counts: Counter[str]) -> list[str]:
    """What joins names more often than labels (animal/cat): no separator, but asked about where it could be one."""
    marks = dict.fromkeys(mark for cell in counts for mark in cell if unicodedata.category(mark)[0] in "PS")
    at_ends = {mark for cell in counts for mark in (cell[0], cell[-1])}
    return [mark for mark in marks if mark not in at_ends]


def _refuse_mixed(filled: Sequence[str], where: str) -> None:
    """Some cells may join labels in another way than by ``|``: their parts are labels of other cells."""
    labels = Counter(part.strip() for cell in filled for part in cell.split("|"))
    for mark in (";", ","):
        if _made_of_others(labels, mark):
            example = next(label for label in labels if mark in label)
            raise UsageError(
                f"{where}: labels are joined by | in some cells and seem joined by {_NAMES[mark]}s in others, such as "
                f"{example!r}; join them in one way, or, if that is one label: --set data.separator=pipe "
                "(`mlkdc data --separator pipe`)"
            )


def _blanks(counts: Counter[str], where: str) -> Separator:
    """Whether blanks join labels or are part of them."""
    if not any(" " in cell for cell in counts):
        return Separator(NONE)
    found = evidence(counts, Separator(" ").split)
    if found.names():
        example = next(cell for cell in counts if " " in cell)
        return Separator(NONE, f"{where}: one label a cell, such as {example!r}")
    if found.blanks_join():
        return _noted(where, counts, " ")
    raise _unclear(where, counts, [" "])


def _noted(where: str, counts: Counter[str], mark: str) -> Separator:
    example = next(cell for cell in counts if mark in cell)
    return Separator(mark, f"{where}: labels are joined by {_NAMES.get(mark, mark)}s, such as {example!r}")


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


def _made_of_others(counts: Counter[str], mark: str) -> bool:
    """Whether the parts of a cell all are cells themselves."""
    for cell in counts:
        parts = [part.strip() for part in cell.split(mark)]
        if len(parts) > 1 and all(part in counts for part in parts):
            return True
    return False


def _unclear(where: str, counts: Counter[str], marks: Sequence[str]) -> UsageError:
    example = next(cell for cell in counts if marks[0] in cell.strip(marks[0]))
    words = [_NAMES.get(mark, mark) for mark in marks]
    return UsageError(
        f"{where}: is {example!r} one label or several? Say it with `--set data.separator={words[0]}` "
        f"({', '.join(words)}), or `--set data.separator=none` for one label a cell (`mlkdc data --separator ...`)"
    )
