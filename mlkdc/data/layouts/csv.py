"""A table: one row per image, its labels joined by ``|`` or in one 0/1 column per label."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, read_lines, read_text
from mlkdc.errors import UsageError, nearest
from mlkdc.types import Problem, Sample, TaggedImages

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_HEADER = "image,labels[,split], or image[,split] and one 0/1 column per label"


@dataclass(frozen=True)
class _Row:
    line: int
    image: str
    labels: tuple[str, ...]
    split: str


def _index(path: Path) -> Path | None:
    """The table that ``path`` is or holds."""
    if path.is_file():
        return path if path.suffix.lower() in _DELIMITERS else None
    for name in ("labels.csv", "labels.tsv"):
        if (path / name).is_file():
            return path / name
    tables = [file for file in path.iterdir() if file.suffix.lower() in _DELIMITERS and file.is_file()]
    return tables[0] if len(tables) == 1 and _column(_header(tables[0]), "image") is not None else None


def _header(index: Path) -> list[str]:
    with index.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        return [cell.strip() for cell in next(csv.reader(stream, delimiter=_DELIMITERS[index.suffix.lower()]), [])]


def _column(header: Sequence[str], name: str) -> int | None:
    lowered = [cell.lower() for cell in header]
    return lowered.index(name) if name in lowered else None


def _cells(index: Path) -> list[tuple[int, list[str]]]:
    """(line number, stripped cells) of every row that is not blank, the header left out."""
    header = _header(index)
    text = StringIO(read_text(index), newline="")
    reader = csv.reader(text, delimiter=_DELIMITERS[index.suffix.lower()], strict=True)
    rows = []
    try:
        for cells in reader:
            if cells:
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise UsageError(f"{index} row {reader.line_num}: not a well-formed table ({error})") from None
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise UsageError(
                f"{index} row {line}: the header has {len(header)} columns, this row {len(cells)}; "
                "put quotes around a cell that holds the separator"
            )
    return rows[1:]


def _split(index: Path, line: int, word: str) -> str:
    if word.lower() not in SPLIT_WORDS:
        raise UsageError(f"{index} row {line}: unknown split {word!r}; {nearest(word.lower(), SPLIT_WORDS)}")
    return SPLIT_WORDS[word.lower()]


def _flags(index: Path, line: int, names: Sequence[str], cells: Sequence[str]) -> tuple[str, ...]:
    for name, cell in zip(names, cells, strict=True):
        if cell not in ("0", "1"):
            raise UsageError(
                f"{index} row {line}: column {name!r} holds {cell!r}, expected 0 or 1, as there is no column "
                "'labels'; expected columns: " + _HEADER
            )
    return tuple(name for name, cell in zip(names, cells, strict=True) if cell == "1")


def _rows(index: Path) -> tuple[list[_Row], list[str] | None, list[Problem]]:
    """Rows, the label columns in order (none when labels are joined), and columns that nothing reads."""
    header = _header(index)
    image, labels, split = (_column(header, name) for name in ("image", "labels", "split"))
    others = [at for at in range(len(header)) if at not in (image, labels, split)]
    if image is None or (labels is None and not others):
        raise UsageError(f"{index}: expected the columns {_HEADER}; got: {', '.join(header) or 'nothing'}")
    names = [header[at] for at in others]
    if labels is None and (len(set(names)) != len(names) or "" in names):
        raise UsageError(f"{index}: two label columns have the same name, or one has none: {', '.join(names)}")
    rows = []
    for line, cells in _cells(index):
        if labels is None:
            found = _flags(index, line, names, [cells[at] for at in others])
        else:
            found = tuple(cells[labels].split("|")) if cells[labels] else ()
        part = UNSPLIT if split is None else _split(index, line, cells[split])
        rows.append(_Row(line, cells[image], found, part))
    if labels is None:
        return rows, names, []
    return rows, None, [Problem("unused column", str(index), name) for name in names]


def _classes(index: Path, rows: list[_Row], columns: list[str] | None) -> tuple[str, ...]:
    """From classes.txt beside the table; else the label columns; else every label met, sorted."""
    listed = index.with_name("classes.txt")
    if not listed.is_file():
        return tuple(columns or sorted({label.strip() for row in rows for label in row.labels} - {""}))
    names = read_lines(listed)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names:
        raise UsageError(f"{listed}: expected one class per line, each once; got twice: {', '.join(repeated) or '-'}")
    return tuple(names)


def _labels(where: str, texts: Sequence[str], number: dict[str, int], problems: list[Problem]) -> tuple[int, ...]:
    found: set[int] = set()
    for text in texts:
        label = text.strip()
        if label not in number:
            kind = "unknown label" if label else "empty label"
            problems.append(Problem(kind, where, f"{label!r} is not in classes.txt" if label else "nothing between |"))
        elif number[label] in found:
            problems.append(Problem("repeated label", where, label))
        else:
            found.add(number[label])
    return tuple(sorted(found))


def _similar(classes: Sequence[str]) -> list[Problem]:
    """Labels that differ only in case or in blanks: most likely one label written in two ways."""
    spelled = defaultdict(list)
    for name in classes:
        spelled["".join(name.lower().replace("_", " ").split())].append(name)
    return [Problem("similar labels", " / ".join(names)) for names in spelled.values() if len(names) > 1]


def read(path: Path) -> TaggedImages:
    """Image paths are relative to the table. Labels that classes.txt lacks are problems, not labels."""
    index = _index(path)
    assert index is not None, "detect() comes first"
    rows, columns, problems = _rows(index)
    classes = _classes(index, rows, columns)
    number = {name: at for at, name in enumerate(classes)}
    problems += _similar(classes)
    samples = []
    for row in rows:
        where = f"{index.name} row {row.line}"
        if not row.image:
            problems.append(Problem("empty image path", where, "the row is left out"))
            continue
        samples.append(Sample(index.parent / row.image, _labels(where, row.labels, number, problems), row.split))
    name = path.stem if path.is_file() else path.name
    return TaggedImages(name, path, "csv", classes, tuple(samples), tuple(problems))


LAYOUTS.register("csv")(
    Layout(
        f"a .csv or .tsv file, or a folder with labels.csv or a single such file; columns {_HEADER}; "
        "labels joined by |; classes.txt beside it fixes the order of the classes",
        lambda path: _index(path) is not None,
        read,
    )
)
