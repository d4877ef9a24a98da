"""A table's header and rows, from CSV, TSV, JSON lines or a JSON list, before anyone knows what they mean."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from mlkdc.data.records_json import LIST, first_record, record_rows
from mlkdc.data.text import WINDOWS, read_any, read_head
from mlkdc.errors import UsageError

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
RECORDS = (".jsonl", ".ndjson", LIST)
SUFFIXES = (*DELIMITERS, ".jsonl", ".ndjson")
#: Rows looked at to tell a table of labels from others.
FIRST_ROWS = 20


@dataclass(frozen=True)
class RawTable:
    """Cells without blanks around them.

    Args:
        file: where it is from.
        header: names of the columns.
        rows: line number and cells of each row, as many as the header has.
        notes: what was read in an unusual way.
        header_line: its line number.
    """

    file: Path
    header: tuple[str, ...]
    rows: list[tuple[int, list[str]]]
    notes: tuple[str, ...] = ()
    header_line: int = 1


def read_rows(file: Path) -> RawTable:
    """The complete table.

    Raises:
        UsageError: it cannot be read, or is not a well-formed table.
    """
    text = read_any(file)
    notes: tuple[str, ...] = ()
    if text.encoding == WINDOWS:
        notes = (f"{file.name} is not UTF-8 and was read as Windows-1252: if letters are wrong, save it as UTF-8",)
    if file.suffix.lower() in RECORDS:
        return _of_records(file, text.content, notes)
    start, delimiter = _start(text.content, file)
    rows = list(_cells(file, text.content, start, delimiter))
    if not rows:
        return RawTable(file, (), [], notes)
    (header_line, header), *body = rows
    _check_header(file, header)
    width = len(header)
    while width and not header[width - 1] and all(not "".join(cells[width - 1 : width]) for _, cells in body):
        width -= 1
    fitted = [(line, _fit(file, line, cells, width)) for line, cells in body]
    return RawTable(file, tuple(header[:width]), fitted, notes, header_line)


def first_rows(file: Path) -> RawTable:
    """The header and some rows, for a look; empty where that fails, so that whoever reads the table says why."""
    head = read_head(file)
    try:
        if file.suffix.lower() in RECORDS:
            return _of_records(file, first_record(head), ())
        start, delimiter = _start(head, file)
        rows: list[tuple[int, list[str]]] = []
        for line, cells in _cells(file, head, start, delimiter):
            rows.append((line, cells))
            if len(rows) > FIRST_ROWS:
                break
    except UsageError:
        rows = []
    if not rows:
        return RawTable(file, (), [])
    header = rows[0][1]
    body = [(line, cells) for line, cells in rows[1:] if len(cells) >= len(header)]
    return RawTable(file, tuple(header), body)


def _start(text: str, file: Path) -> tuple[int, str]:
    """Where the header begins, behind comments and Excel's ``sep=;``, and what separates the columns."""
    position = 0
    chosen = None
    for line in text.splitlines(keepends=True):
        content = line.strip()
        if content.lower().startswith("sep=") and len(content) == len("sep=") + 1:
            chosen = content[-1]
        elif content and not content.startswith("#"):
            return position, chosen or _delimiter(content, file)
        position += len(line)
    return position, chosen or DELIMITERS[file.suffix.lower()]


def _delimiter(header: str, file: Path) -> str:
    """Of comma, semicolon and tab the one that the header has; the suffix decides where it has none of them."""
    usual = DELIMITERS[file.suffix.lower()]
    counts = {mark: header.count(mark) for mark in (usual, ",", ";", "\t")}
    return max(counts, key=counts.__getitem__)


def _cells(file: Path, text: str, start: int, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped cells of every row that is not blank, the header included."""
    skipped_lines = len(text[:start].splitlines())
    reader = csv.reader(StringIO(text[start:], newline=""), delimiter=delimiter, strict=True)
    line = 0
    while True:
        line = reader.line_num + skipped_lines + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UsageError(
                f"{file} row {line}: not a well-formed table ({error}); look for a quote there that never closes"
            ) from None
        if cells is None:
            return
        if any("\0" in cell for cell in cells):
            raise UsageError(f"{file} row {line}: holds a zero byte, so the file is damaged or no table; save it anew")
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            yield reader.line_num + skipped_lines, stripped


def _check_header(file: Path, header: list[str]) -> None:
    for name in header:
        if "\n" in name and len(name) > 200:
            raise UsageError(
                f"{file} row 1: not a well-formed table; look for a quote that opens there and never closes"
            )


def _fit(file: Path, line: int, cells: list[str], width: int) -> list[str]:
    """The cells of a row, without empty ones behind the last column."""
    if len(cells) == width or (len(cells) > width and not any(cells[width:])):
        return cells[:width]
    raise UsageError(
        f"{file} row {line}: the header has {width} columns, this row {len(cells)}; "
        "put quotes around a cell that holds the separator"
    )


def _of_records(file: Path, text: str, notes: tuple[str, ...]) -> RawTable:
    header, rows = record_rows(file, text)
    return RawTable(file, header, rows, notes)
