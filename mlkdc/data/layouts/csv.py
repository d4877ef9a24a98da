"""A table: one row per image, its labels joined by ``|`` or in one 0/1 column per label."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlkdc.data.layouts import LAYOUTS, Layout, read_lines
from mlkdc.data.table import DELIMITERS, HEADER, Table, lists_images, read_table, stripped
from mlkdc.errors import UsageError
from mlkdc.types import Problem, Sample, TaggedImages


def _index(path: Path) -> Path | None:
    """The table that ``path`` is or holds."""
    if path.is_file():
        return _only_table([path])
    for name in ("labels.csv", "labels.tsv"):
        if (path / name).is_file():
            return path / name
    table = _only_table(path.iterdir())
    if table is not None and lists_images(table):
        return table
    return None


def _only_table(files: Iterable[Path]) -> Path | None:
    tables = [file for file in files if file.suffix.lower() in DELIMITERS and file.is_file()]
    if len(tables) != 1:
        return None
    return tables[0]


def _classes(index: Path, table: Table) -> tuple[str, ...]:
    """From classes.txt next to the table; else the label columns; else every label that occurs, sorted."""
    listed = index.with_name("classes.txt")
    if listed.is_file():
        return _listed_classes(listed)
    if table.label_columns is not None:
        return table.label_columns
    labels = set()
    for row in table.rows:
        labels.update(stripped(row.labels))
    return tuple(sorted(labels - {""}))


def _listed_classes(listed: Path) -> tuple[str, ...]:
    names = read_lines(listed)
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated or not names:
        raise UsageError(f"{listed}: expected one class per line, each once; got twice: {', '.join(repeated) or '-'}")
    return tuple(names)


def _labels(where: str, texts: Sequence[str], number: dict[str, int], problems: list[Problem]) -> tuple[int, ...]:
    """A row's labels as sorted numbers; what is no label is added to ``problems``."""
    labels: set[int] = set()
    for label in stripped(texts):
        if not label:
            problems.append(Problem("empty label", where, "nothing between |"))
        elif label not in number:
            problems.append(Problem("unknown label", where, f"{label!r} is not in classes.txt"))
        elif number[label] in labels:
            problems.append(Problem("repeated label", where, label))
        else:
            labels.add(number[label])
    return tuple(sorted(labels))


def _similar(classes: Sequence[str]) -> list[Problem]:
    """Labels that differ only in case or in blanks: most likely one label written in two ways."""
    spellings = defaultdict(list)
    for name in classes:
        spellings["".join(name.lower().replace("_", " ").split())].append(name)
    problems = []
    for names in spellings.values():
        if len(names) > 1:
            problems.append(Problem("similar labels", " / ".join(names)))
    return problems


def read(path: Path) -> TaggedImages:
    """Image paths are relative to the table. Labels that classes.txt does not list are problems, not labels."""
    index = _index(path)
    assert index is not None, "detect() comes first"
    table = read_table(index)
    classes = _classes(index, table)
    number = {name: label for label, name in enumerate(classes)}
    problems = [Problem("unused column", str(index), name) for name in table.unused_columns]
    problems += _similar(classes)
    samples = []
    for row in table.rows:
        where = f"{index.name} row {row.line}"
        if not row.image:
            problems.append(Problem("empty image path", where, "the row is skipped"))
            continue
        samples.append(Sample(index.parent / row.image, _labels(where, row.labels, number, problems), row.split))
    name = path.name
    if path.is_file():
        name = path.stem
    return TaggedImages(name, path, "csv", classes, tuple(samples), tuple(problems))


def _detect(path: Path) -> bool:
    return _index(path) is not None


LAYOUTS.register("csv")(
    Layout(
        f"a .csv or .tsv file, or a folder with labels.csv or a single such file; columns {HEADER}; "
        "labels joined by |; classes.txt next to it fixes the order of the classes",
        _detect,
        read,
    )
)
