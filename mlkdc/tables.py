"""One kind of table for the terminal, Markdown and HTML."""

import html
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: Columns of a terminal that shows every table without breaking lines.
TERMINAL_WIDTH = 80
GAP = "  "
#: A column of words is not made narrower than this, nor so narrow that a word of this length would be broken.
NARROWEST, LONGEST_WORD = 8, 24


@dataclass(frozen=True)
class Table:
    """Rows of text cells.

    Args:
        head: column titles.
        rows: as many cells each as there are titles.
        align: one letter per column, ``l`` for words and ``r`` for numbers; None sets the first column and every
            column in which a cell begins with a letter to the left.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str | None = None

    @property
    def alignment(self) -> str:
        """One letter per column."""
        if self.align is not None:
            return self.align
        letters = "l"
        for column in range(1, len(self.head)):
            initials = "".join(row[column][:1] for row in self.rows)
            if any(map(str.isalpha, initials)):
                letters += "l"
            else:
                letters += "r"
        return letters

    def text(self, width: int = TERMINAL_WIDTH) -> str:
        """Aligned columns for a terminal of ``width`` characters: titles and words are wrapped, numbers are not."""
        widths = self._widths(width)
        lines = self._row(self.head, widths)
        lines.append(GAP.join("-" * size for size in widths).rstrip())
        for row in self.rows:
            lines += self._row(row, widths)
        return "\n".join(lines)

    def markdown(self) -> str:
        """A Markdown table. Cells are shown as they are: nothing in them is read as Markdown or HTML."""
        return self._markdown([[escape_markdown(cell) for cell in row] for row in (self.head, *self.rows)])

    def markdown_as_is(self) -> str:
        """A Markdown table whose cells may hold Markdown."""
        return self._markdown([self.head, *self.rows])

    def html(self, cell_class: Callable[[str], str] | None = None) -> str:
        """An HTML table whose cells have the class of their column, ``l`` or ``r``; they are escaped.

        Args:
            cell_class: a further class for a cell of a row, by its text; empty for none.
        """
        letters = self.alignment
        titles = _html_cells("th", self.head, letters, ' scope="col"')
        lines = ["<table>", f"<thead><tr>{titles}</tr></thead>", "<tbody>"]
        for row in self.rows:
            classes = list(letters)
            if cell_class is not None:
                classes = [f"{letter} {cell_class(cell)}".rstrip() for letter, cell in zip(letters, row, strict=True)]
            first = _html_cells("th", row[:1], classes, ' scope="row"')
            lines.append(f"<tr>{first}{_html_cells('td', row[1:], classes[1:])}</tr>")
        return "\n".join([*lines, "</tbody>", "</table>"])

    def _markdown(self, rows: Sequence[Sequence[str]]) -> str:
        rules = {"l": "---", "r": "--:"}
        rule = [rules[letter] for letter in self.alignment]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (rows[0], rule, *rows[1:]))

    def _widths(self, width: int) -> list[int]:
        """Of each column: what its cells need, less where the table would be too wide and words can be wrapped."""
        widths, least = [], []
        for column, letter in enumerate(self.alignment):
            title = self.head[column]
            cells = [row[column] for row in self.rows]
            longest = _longest(cells)
            widths.append(max(len(title), longest))
            # The first column is what a reader copies, a number is read at once: neither is broken.
            fixed = longest
            if column > 0 and letter == "l":
                fixed = min(longest, max(NARROWEST, min(LONGEST_WORD, _longest(" ".join(cells).split()))))
            least.append(max(fixed, _longest(title.split())))
        excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
        while excess > 0:
            shrinkable = [column for column, size in enumerate(widths) if size > least[column]]
            if not shrinkable:
                break
            widest = max(shrinkable, key=widths.__getitem__)
            widths[widest] -= 1
            excess -= 1
        return widths

    def _row(self, cells: Sequence[str], widths: Sequence[int]) -> list[str]:
        """The lines of one row."""
        wrapped = [_wrapped(cell, size) for cell, size in zip(cells, widths, strict=True)]
        lines = []
        for number in range(max(len(parts) for parts in wrapped)):
            line = ""
            for parts, size, letter in zip(wrapped, widths, self.alignment, strict=True):
                part = "".join(parts[number : number + 1])  # a shorter cell ends with empty lines
                if letter == "l":
                    line += part.ljust(size) + GAP
                else:
                    line += part.rjust(size) + GAP
            lines.append(line.rstrip())
        return lines


def escape_markdown(text: str) -> str:
    """Words on one line that neither Markdown nor the HTML in it reads as marks."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", escaped)


def _longest(texts: Sequence[str]) -> int:
    return max(map(len, texts), default=0)


def _wrapped(cell: str, width: int) -> list[str]:
    if len(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_on_hyphens=False) or [""]


def _html_cells(tag: str, cells: Sequence[str], classes: Sequence[str], attributes: str = "") -> str:
    parts = []
    for cell, names in zip(cells, classes, strict=False):
        parts.append(f'<{tag} class="{names}"{attributes}>{html.escape(cell)}</{tag}>')
    return "".join(parts)
