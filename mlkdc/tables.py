"""One kind of table for the terminal, Markdown and HTML."""

import html
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: Columns of a terminal that shows every table without breaking lines.
TERMINAL_WIDTH = 80
GAP = "  "
#: A column of words is not made narrower than this.
NARROWEST = 8


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
        letters = ["l"]
        for column in range(1, len(self.head)):
            has_words = any(row[column][:1].isalpha() for row in self.rows)
            letters.append("l" if has_words else "r")
        return "".join(letters)

    def text(self, width: int = TERMINAL_WIDTH) -> str:
        """Aligned columns for a terminal of ``width`` characters: titles and words are wrapped, numbers are not."""
        widths = self._widths(width)
        lines = self._row(self.head, widths)
        lines.append(GAP.join("-" * size for size in widths))
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
        rule = ["---" if letter == "l" else "--:" for letter in self.alignment]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (rows[0], rule, *rows[1:]))

    def _widths(self, width: int) -> list[int]:
        """Of each column: what its cells need, less where the table would be too wide and words can be wrapped."""
        widths, least = [], []
        for column, letter in enumerate(self.alignment):
            title, cells = self.head[column], [row[column] for row in self.rows]
            longest_cell = max((len(cell) for cell in cells), default=0)
            widths.append(max(len(title), longest_cell))
            # A number stays on one line; so does each word of a title.
            fixed = longest_cell if letter == "r" else min(NARROWEST, longest_cell)
            least.append(max(fixed, _longest_word(title)))
        excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
        while excess > 0:
            slack = [size - smallest for size, smallest in zip(widths, least, strict=True)]
            if max(slack) <= 0:
                break
            # The widest of those that can shrink.
            column = max(range(len(widths)), key=lambda at: (slack[at] > 0, widths[at]))
            widths[column] -= 1
            excess -= 1
        return widths

    def _row(self, cells: Sequence[str], widths: Sequence[int]) -> list[str]:
        """The lines of one row."""
        wrapped = [_wrapped(cell, size) for cell, size in zip(cells, widths, strict=True)]
        lines = []
        for number in range(max(len(parts) for parts in wrapped)):
            placed = []
            for parts, size, letter in zip(wrapped, widths, self.alignment, strict=True):
                part = parts[number] if number < len(parts) else ""
                placed.append(part.ljust(size) if letter == "l" else part.rjust(size))
            lines.append(GAP.join(placed).rstrip())
        return lines


def escape_markdown(text: str) -> str:
    """Words on one line that neither Markdown nor the HTML in it reads as marks."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", escaped)


def _longest_word(text: str) -> int:
    return max((len(word) for word in text.split()), default=0)


def _wrapped(cell: str, width: int) -> list[str]:
    if len(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_on_hyphens=False) or [""]


def _html_cells(tag: str, cells: Sequence[str], classes: Sequence[str], attributes: str = "") -> str:
    parts = []
    for cell, names in zip(cells, classes, strict=False):
        parts.append(f'<{tag} class="{names}"{attributes}>{html.escape(cell)}</{tag}>')
    return "".join(parts)
