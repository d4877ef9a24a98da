"""Tables: one row per image or per label of an image, with labels in a cell or one column per label."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlkdc.data.classes import listed_classes
from mlkdc.data.columns import HEADER, find_columns, with_header
from mlkdc.data.files import entries, folders_in
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, ReadOptions
from mlkdc.data.layouts.labelstudio import HINTS
from mlkdc.data.records_json import LIST
from mlkdc.data.rows import SUFFIXES, first_rows, read_rows
from mlkdc.data.separator import Separator
from mlkdc.data.splits import split_alone, split_of_name
from mlkdc.data.table import Tables, read_tables
from mlkdc.data.text import clean_label, read_head
from mlkdc.errors import UsageError
from mlkdc.figures import first_few
from mlkdc.types import Problem, Sample, TaggedImages

SHOWN_LABELS = 4
#: Kaggle's example of an answer has the columns of the labels, and labels that mean nothing.
NO_LABELS = "submission"


def _files(path: Path) -> list[tuple[Path, str]]:
    """The tables that ``path`` is or holds, with the splits that their names say."""
    if path.is_file():
        if path.suffix.lower() in SUFFIXES or label_tables(path.parent, path):
            return [(path, UNSPLIT)]
        return []
    for name in ("labels.csv", "labels.tsv"):
        if os.path.isfile(path / name):
            return [(path / name, UNSPLIT)]
    tables = label_tables(path)
    if tables:
        return _with_splits(tables)
    return _in_split_folders(path)


def label_tables(folder: Path, only: Path | None = None) -> list[Path]:
    """The tables in a folder, or only a certain one, whose header and first rows are images and labels."""
    tables = []
    for file in entries(folder) if only is None else [only]:
        if not _may_be_table(file) or NO_LABELS in file.name.lower() or not os.path.isfile(file):
            continue
        if find_columns(with_header(first_rows(file))) is not None:
            tables.append(file)
    return tables


def _may_be_table(file: Path) -> bool:
    """By its suffix; JSON that begins with a list, unless it is Label Studio's, may hold records."""
    if file.suffix.lower() == LIST:
        head = read_head(file)
        return head.lstrip().startswith("[") and not any(hint in head for hint in HINTS)
    return file.suffix.lower() in SUFFIXES


def _with_splits(tables: list[Path]) -> list[tuple[Path, str]]:
    """A table alone is split here, whatever its name; of several, each is one split where all names say so."""
    if len(tables) == 1:
        return [(tables[0], UNSPLIT)]
    splits = [split_of_name(table) for table in tables]
    if None in splits or len(set(splits)) < len(splits):
        return [(table, UNSPLIT) for table in tables]
    return [(table, split or UNSPLIT) for table, split in zip(tables, splits, strict=True)]


def _in_split_folders(path: Path) -> list[tuple[Path, str]]:
    """The tables of the folders train, valid and test, one each."""
    files = []
    for folder in folders_in(path):
        split = split_of_name(folder)
        if split is not None:
            files += [(table, split) for table in label_tables(folder)]
    return files


def _codes(tables: Sequence[Path]) -> dict[str, str]:
    """Names of labels by their codes, from Open Images' class-descriptions next to a table."""
    names = {}
    for table in tables:
        for file in entries(table.parent):
            if file.name.startswith("class-descriptions") and file.suffix == ".csv":
                described = read_rows(file)
                if len(described.header) < 2:
                    raise UsageError(
                        f"{file}: expected two columns, the codes of labels and their names, got "
                        f"{len(described.header)}; correct the file, or move it elsewhere"
                    )
                # The first row is not a header, unless it says so.
                for cells in (described.header, *(cells for _, cells in described.rows)):
                    names[cells[0]] = cells[1]
    return names


def _classes(tables: Tables, listed: tuple[str, ...]) -> tuple[str, ...]:
    """From classes.txt next to the table; else the label columns; else every label that occurs, sorted."""
    if listed:
        return listed
    if tables.label_columns is not None:
        return tuple(dict.fromkeys(map(clean_label, tables.label_columns)))
    labels: set[str] = set()
    for row in tables.rows:
        labels.update(map(clean_label, row.labels))
    return tuple(sorted(labels - {""}))


def _labels(
    where: str, texts: Sequence[str], number: dict[str, int], mark: Separator, problems: list[Problem]
) -> tuple[int, ...]:
    """A row's labels as sorted numbers; what is no label is added to ``problems``."""
    labels: set[int] = set()
    for label in map(clean_label, texts):
        if not label:
            between = mark.mark if mark.mark.isprintable() else mark.words
            problems.append(Problem("empty label", where, f"nothing between {between}"))
        elif label not in number:
            problems.append(Problem("unknown label", where, f"{label!r} is not in classes.txt"))
        elif number[label] in labels:
            problems.append(Problem("repeated label", where, label))
        else:
            labels.add(number[label])
    return tuple(sorted(labels))


def _check_splits(path: Path, files: Iterable[tuple[Path, str]]) -> None:
    splits = Counter(split for _, split in files)
    if max(splits.values()) > 1:
        shown = ", ".join(str(file) for file, _ in files)
        raise UsageError(
            f"{path} holds several tables with images and labels: {shown}; point --data at one of them, or name "
            "one for each split: train.csv, val.csv, test.csv"
        )


def read(path: Path, options: ReadOptions) -> TaggedImages:
    """Image paths are relative to the table. Labels that classes.txt does not list are problems, not labels."""
    files = _files(path)
    _check_splits(path, files)
    first = files[0][0]
    listed: tuple[str, ...] = ()
    for folder in (first.parent, path):
        if not listed and (folder / "classes.txt").is_file():
            listed = listed_classes(folder / "classes.txt")
    named = files[0][1]
    if len(files) == 1:
        files = [(first, UNSPLIT)]
    tables = read_tables(files, listed, options.separator, _codes([file for file, _ in files]))
    alone = UNSPLIT
    if len(files) == 1:
        alone = split_alone(named or split_of_name(first), len(tables.rows))
    classes = _classes(tables, listed)
    number = {name: label for label, name in enumerate(classes)}
    problems = list(tables.problems)
    samples = []
    for row in tables.rows:
        if not row.image:
            problems.append(Problem("empty image path", row.where, "the row is skipped"))
            continue
        labels = _labels(row.where, row.labels, number, tables.separator, problems)
        samples.append(Sample(row.file.parent / row.image, labels, row.split or alone))
    if listed and samples and not any(sample.labels for sample in samples):
        names = sorted({label for row in tables.rows for label in map(clean_label, row.labels)})
        raise UsageError(
            f"{first}: none of its labels ({first_few(names, SHOWN_LABELS)}) is in classes.txt next to it "
            f"({first_few(listed, SHOWN_LABELS)}); correct or delete that file"
        )
    name = path.name
    if path.is_file():
        name = path.stem
    return TaggedImages(name, path, "csv", classes, tuple(samples), tuple(problems), notes=tables.notes)


def _detect(path: Path) -> bool:
    return bool(_files(path))


LAYOUTS.register("csv")(
    Layout(
        f"a .csv, .tsv, .jsonl or .json file of records, a folder with one, or with one for each split; columns "
        f"{HEADER}, or one row per label; labels joined by |, commas, blanks, ...; classes.txt next to it fixes the "
        "order of the classes",
        _detect,
        read,
    )
)
