"""What joins the labels in a cell of a table. Tables do not say it; the complete column does, or the user must.

``a|b`` and lists are certain. A comma or a semicolon can be part of a label, and a blank often is ("traffic light"):
they join labels where the parts come back in other cells, and where they do not and could, the table is refused.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mlkdc.data.cell_lists import is_list, items
from mlkdc.data.evidence import evidence
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
#: Join names more often than labels ("animal/cat"): never taken for a separator, and asked about where they could be.
RARE = ("/", "+", "&")


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
            return items(cell)
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
    if filled and all(map(is_list, filled)):
        return Separator(LIST, f"{where}: lists of labels, such as {filled[0]}")
    if any("|" in cell for cell in filled):
        _refuse_mixed(filled, where)
        return Separator("|")
    counts = Counter(filled)
    listed = _among(counts, classes)
    if listed is not None:
        return listed
    strong = [mark for mark in (";", ",", "\n", "\t") if any(mark in cell.strip(mark) for cell in counts)]
    clear = [mark for mark in strong if evidence(counts, Separator(mark).split).marks_join()]
    if len(clear) == 1:
        return _noted(where, counts, clear[0])
    if strong:
        raise _unclear(where, counts, strong)
    for mark in RARE:
        if _made_of_others(counts, mark):
            raise _unclear(where, counts, [mark])
    return _blanks(counts, where)


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
