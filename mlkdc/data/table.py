"""The rows of a table that lists images and their labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlkdc.data import separator
from mlkdc.data.columns import Columns, plain, require_columns, with_header
from mlkdc.data.flags import FLAGS, read_flags
from mlkdc.data.rows import RawTable, read_rows
from mlkdc.data.separator import Separator
from mlkdc.data.splits import SPLIT_FLAGS, SPLIT_WORDS
from mlkdc.errors import UsageError, nearest
from mlkdc.figures import counted
from mlkdc.types import Problem

#: What programs write where there is no value. The word is a label where it stands among others.
NO_VALUE = ("nan", "<na>", "#n/a")
SHOWN_ROWS = 5


@dataclass(frozen=True)
class Row:
    """An image. ``labels`` are as written, ``split`` is ``UNSPLIT`` where the table has no such column."""

    file: Path
    line: int
    image: str
    labels: tuple[str, ...]
    split: str

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.file.name} row {self.line}"


@dataclass(frozen=True)
class Tables:
    """All rows of one or several tables, and what the other columns are.

    Args:
        rows: in the order of the files.
        label_columns: in their order; None where labels are in cells.
        separator: what joins labels in a cell.
        problems: columns that say nothing about labels or splits, and rows in no split.
        notes: what was read in one of several possible ways.
    """

    rows: list[Row]
    label_columns: tuple[str, ...] | None
    separator: Separator
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def read_tables(
    files: Sequence[tuple[Path, str]],
    classes: Sequence[str] = (),
    chosen: str | None = None,
    names: Mapping[str, str] | None = None,
) -> Tables:
    """Read and check every row.

    Args:
        files: each table with the split of its rows, which is ``UNSPLIT`` where the table says it or nothing does.
        classes: the labels that there are, where the user lists them.
        chosen: the separator that the user names; None detects it.
        names: of labels that the tables hold codes of.

    Raises:
        UsageError: not text, not a well-formed table, columns are missing, or a cell holds what it cannot.
    """
    tables = [(with_header(read_rows(file)), split) for file, split in files]
    parts = [(table, require_columns(table), split) for table, split in tables]
    mark = _separator(parts, classes, chosen)
    rows: list[Row] = []
    problems: list[Problem] = []
    notes = [note for table, _ in tables for note in table.notes]
    if mark.note:
        notes.append(mark.note)
    label_columns: dict[str, None] = {}
    for table, columns, split in parts:
        problems += [Problem("unused column", str(table.file), table.header[column]) for column in columns.unused]
        label_columns.update((table.header[column], None) for column in columns.flags)
        labels, more = _labels(table, columns, mark, names or {})
        notes += more
        splits = _splits(table, columns, split, problems)
        for (line, cells), of_row, split_of_row in zip(table.rows, labels, splits, strict=True):
            if split_of_row is not None:
                rows.append(Row(table.file, line, cells[columns.image], of_row, split_of_row))
    flagged = any(columns.flags for _, columns, _ in parts)
    return Tables(rows, tuple(label_columns) if flagged else None, mark, tuple(problems), tuple(notes))


def _separator(parts: Sequence[tuple[RawTable, Columns, str]], classes: Sequence[str], chosen: str | None) -> Separator:
    """One for all tables, from all of their cells."""
    cells, where = [], ""
    for table, columns, _ in parts:
        for column in columns.labels:
            cells += [row[column] for _, row in table.rows if row[column].lower() not in NO_VALUE]
            where = where or f"{table.file.name}, column {table.header[column]!r}"
    said = None
    if chosen is not None:
        said = separator.chosen(chosen)
        if said.mark == separator.NONE:
            return said
    flags = separator.of_flags(cells, classes, where, said)
    if flags is not None:
        return flags
    if said is not None:
        return separator.unseen(cells, said, where)
    return separator.detect(cells, classes, where)


def _labels(
    table: RawTable, columns: Columns, mark: Separator, names: Mapping[str, str]
) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """The labels of each row, and notes."""
    if columns.flags:
        flags = [(line, [cells[column] for column in columns.flags]) for line, cells in table.rows]
        flagged = read_flags(str(table.file), [table.header[column] for column in columns.flags], flags)
        return flagged.labels, flagged.notes
    word = _no_value(table, columns, mark)
    labels, missing, refuted = [], 0, 0
    for line, cells in table.rows:
        of_row: list[str] = []
        for column in columns.labels:
            if word is not None and cells[column].lower() == word:
                missing += 1
                continue
            of_row += [names.get(label.strip(), label) for label in _split(table, line, cells[column], mark)]
        if columns.confidence is not None and not _confident(table, columns.confidence, line, cells):
            refuted += 1
            of_row = []
        labels.append(tuple(of_row))
    notes = []
    if missing:
        notes.append(f"{table.file.name}: {counted(missing, 'cell')} with {word!r}, read as no label")
    if refuted:
        notes.append(f"{table.file.name}: {counted(refuted, 'row')} of confidence 0: a label is not there")
    return labels, tuple(notes)


def _split(table: RawTable, line: int, cell: str, mark: Separator) -> list[str]:
    try:
        return mark.split(cell)
    except UsageError as error:
        raise UsageError(f"{table.file} row {line}: {error}") from None


def _no_value(table: RawTable, columns: Columns, mark: Separator) -> str | None:
    """The word by which a program wrote that there is no label, unless it is a label of other images."""
    for word in NO_VALUE:
        alone = among = False
        for line, cells in table.rows:
            for column in columns.labels:
                cell = cells[column].lower()
                alone |= cell == word
                among |= cell != word and word in [part.strip() for part in _split(table, line, cell, mark)]
        if alone and not among:
            return word
    return None


def _confident(table: RawTable, column: int, line: int, cells: Sequence[str]) -> bool:
    if cells[column] in ("1", "1.0"):
        return True
    if cells[column] in ("0", "0.0"):
        return False
    raise UsageError(
        f"{table.file} row {line}: column {table.header[column]!r} holds {cells[column]!r}, expected 1 (the label is "
        "there) or 0; keep the rows that you trust and delete the column"
    )


def _flag_word(table: RawTable, line: int, word: str, splits: tuple[str, str]) -> str:
    """The split of a row by a column such as ``is_valid``."""
    if word not in FLAGS:
        raise UsageError(f"{table.file} row {line}: expected true or false under a column as 'is_valid', got {word!r}")
    return splits[0] if FLAGS[word] else splits[1]


def _splits(table: RawTable, columns: Columns, split: str, problems: list[Problem]) -> list[str | None]:
    """The split of each row; None where its cell is empty and others are not. Such rows are added to ``problems``."""
    if columns.split is None:
        return [split] * len(table.rows)
    flagged = SPLIT_FLAGS.get(plain(table.header[columns.split]))
    words = [cells[columns.split].lower() for _, cells in table.rows]
    if flagged is not None:
        words = [_flag_word(table, line, word, flagged) for (line, _), word in zip(table.rows, words, strict=True)]
    if not any(words):
        return [split] * len(words)
    splits: list[str | None] = []
    for (line, cells), word in zip(table.rows, words, strict=True):
        if word and word not in SPLIT_WORDS:
            shown = cells[columns.split]
            raise UsageError(f"{table.file} row {line}: unknown split {shown!r}; {nearest(word, SPLIT_WORDS)}")
        splits.append(SPLIT_WORDS[word] if word else None)
    lines = [str(line) for (line, _), of_row in zip(table.rows, splits, strict=True) if of_row is None]
    if lines:
        shown = ", ".join(lines[:SHOWN_ROWS])
        if len(lines) > SHOWN_ROWS:
            shown += ", ..."
        detail = f"{counted(len(lines), 'row')} without a split left out: {shown}"
        problems.append(Problem("images in no split", str(table.file), detail))
    return splits
