"""The rows of a .csv or .tsv file that lists images and their labels."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from mlkdc.data.layouts import UNSPLIT, read_text
from mlkdc.errors import UsageError, nearest

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
DELIMITERS = {".csv": ",", ".tsv": "\t"}
HEADER = "image,labels[,split], or image[,split] and one 0/1 column per label"


@dataclass(frozen=True)
class Row:
    """An image. ``labels`` are as written, ``split`` is ``UNSPLIT`` where the table has no such column."""

    line: int
    image: str
    labels: tuple[str, ...]
    split: str


@dataclass(frozen=True)
class Table:
    """All rows, and what the other columns are.

    Args:
        rows: in the order of the file.
        label_columns: in their order; None where labels are joined in one column.
        unused_columns: that say nothing about labels or splits.
    """

    rows: list[Row]
    label_columns: tuple[str, ...] | None
    unused_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Columns:
    """Positions in the header; where ``labels`` is None, each of the other columns stands for one label."""

    image: int
    labels: int | None
    split: int | None
    others: tuple[int, ...]
    other_names: tuple[str, ...]


def stripped(cells: Sequence[str]) -> list[str]:
    """The cells without blanks around them."""
    return [cell.strip() for cell in cells]


def _header(index: Path) -> list[str]:
    # Detection must not fail on a table that is not UTF-8; reading its rows says so.
    with index.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        reader = csv.reader(stream, delimiter=DELIMITERS[index.suffix.lower()])
        return stripped(next(reader, []))


def _column(header: Sequence[str], name: str) -> int | None:
    lowered = list(map(str.lower, header))
    if name not in lowered:
        return None
    return lowered.index(name)


def _columns(index: Path, header: list[str]) -> _Columns:
    image, labels, split = _column(header, "image"), _column(header, "labels"), _column(header, "split")
    others, names = [], []
    for column, name in enumerate(header):
        if column not in (image, labels, split):
            others.append(column)
            names.append(name)
    if image is None or (labels is None and not others):
        raise UsageError(f"{index}: expected the columns {HEADER}; got: {', '.join(header) or 'nothing'}")
    if labels is None and (len(set(names)) < len(names) or "" in names):
        raise UsageError(f"{index}: two label columns have the same name, or one has none: {', '.join(names)}")
    return _Columns(image, labels, split, tuple(others), tuple(names))


def _cells(index: Path, width: int) -> list[tuple[int, list[str]]]:
    """(line number, stripped cells) of every row that is not blank, without the header."""
    text = StringIO(read_text(index), newline="")
    reader = csv.reader(text, delimiter=DELIMITERS[index.suffix.lower()], strict=True)
    rows = []
    try:
        for cells in reader:
            if cells:
                rows.append((reader.line_num, stripped(cells)))
    except csv.Error as error:
        raise UsageError(f"{index} row {reader.line_num}: not a well-formed table ({error})") from None
    for line, cells in rows[1:]:
        if len(cells) != width:
            raise UsageError(
                f"{index} row {line}: the header has {width} columns, this row {len(cells)}; "
                "put quotes around a cell that holds the separator"
            )
    return rows[1:]


def _split(index: Path, line: int, word: str) -> str:
    if word.lower() not in SPLIT_WORDS:
        raise UsageError(f"{index} row {line}: unknown split {word!r}; {nearest(word.lower(), SPLIT_WORDS)}")
    return SPLIT_WORDS[word.lower()]


def _flagged(index: Path, line: int, cells: Sequence[str], columns: _Columns) -> tuple[str, ...]:
    """The labels whose column holds a 1."""
    labels = []
    for column, name in zip(columns.others, columns.other_names, strict=True):
        if cells[column] not in ("0", "1"):
            raise UsageError(
                f"{index} row {line}: column {name!r} holds {cells[column]!r}, expected 0 or 1, as there is no column "
                "'labels'; expected columns: " + HEADER
            )
        if cells[column] == "1":
            labels.append(name)
    return tuple(labels)


def _row(index: Path, line: int, cells: list[str], columns: _Columns) -> Row:
    labels: tuple[str, ...] = ()
    if columns.labels is None:
        labels = _flagged(index, line, cells, columns)
    elif cells[columns.labels]:
        labels = tuple(cells[columns.labels].split("|"))
    split = UNSPLIT
    if columns.split is not None:
        split = _split(index, line, cells[columns.split])
    return Row(line, cells[columns.image], labels, split)


def lists_images(index: Path) -> bool:
    """Whether the header has a column of images."""
    return _column(_header(index), "image") is not None


def read_table(index: Path) -> Table:
    """Read and check every row.

    Raises:
        UsageError: not UTF-8, not a well-formed table, columns are missing, or a cell holds what it cannot.
    """
    header = _header(index)
    columns = _columns(index, header)
    rows = [_row(index, line, cells, columns) for line, cells in _cells(index, len(header))]
    if columns.labels is None:
        return Table(rows, label_columns=columns.other_names)
    return Table(rows, label_columns=None, unused_columns=columns.other_names)
