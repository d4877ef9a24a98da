"""What the columns of a table are, by their names: images, labels, splits, one flag per label."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlkdc.data.flags import FLAGS, WORDS, flag_word, in_words
from mlkdc.data.rows import RawTable
from mlkdc.data.splits import SPLIT_FLAGS, SPLIT_WORDS
from mlkdc.errors import UsageError
from mlkdc.images import image_suffixes

HEADER = "image,labels[,split], or image[,split] and one 0/1 column per label"

# Without case, blanks and underscores; where several occur, the first one counts.
IMAGE_NAMES = (
    "image", "imagepath", "imagename", "imagefile", "imagefilename", "filename", "file", "filepath", "path", "img",
    "imgpath", "imgname", "imgfile", "images", "photo", "fname", "relpath", "imageid", "imgid",
)  # fmt: skip
#: Names that can also mean other things: the cells must look like image files.
WEAK_IMAGE_NAMES = ("name", "id", "url", "imageurl", "key")
LABEL_NAMES = (
    "labels", "label", "tags", "tag", "labelname", "classes", "class", "classname", "categories", "category",
    "keywords", "targets", "target", "choice", "attributes", "labelids", "attributeids",
    "labelid", "classid", "categoryid", "tagid",
)  # fmt: skip
SPLIT_NAMES = ("split", "splitname", "subset", "set", "partition", "usage", "phase", "mluse", "datasplit")
#: Of a table whose labels are in JSON, with columns of numbers that could be taken for flags.
VIA_NAMES = {"filename", "regioncount", "regionshapeattributes", "regionattributes"}
#: Of what a detector answered, in COCO's format for results: no labels.
RESULTS_NAMES = {"imageid", "categoryid", "score"}
RESULTS = (
    "COCO's format for results: what a detector answered, with neither labels nor file names; give the annotations "
    "that it was scored with, instances_*.json"
)
CONFIDENCE = "confidence"
#: Columns of numbers that count rows, as pandas writes them.
UNNAMED = ("", "unnamed0")
INDEX_NAMES = (*UNNAMED, "index", "idx", "id", "rowid")


@dataclass(frozen=True)
class Columns:
    """Positions in the header.

    Args:
        image: paths.
        labels: joined or one each; empty where ``flags`` are not.
        split: None where there is none.
        confidence: of a row's label, 0 or 1; None where there is none.
        flags: one column per label.
        unused: that say nothing about labels or splits.
    """

    image: int
    labels: tuple[int, ...]
    split: int | None
    confidence: int | None
    flags: tuple[int, ...]
    unused: tuple[int, ...]


def plain(name: str) -> str:
    """A column's name in lower case, letters and digits only."""
    return "".join(filter(str.isalnum, name.lower()))


def with_header(table: RawTable) -> RawTable:
    """A table whose first line is a row like all others, with the names of its columns; any other as it is.

    Only two columns, or three of which the last holds words for splits, can be meant in one way.
    """
    rows = [list(table.header), *(cells for _, cells in table.rows)]
    width = len(table.header)
    if width not in (2, 3) or not all(_is_image_name(cells[0]) for cells in rows):
        return table
    if any(_is_image_name(cells[1]) for cells in rows):
        return table
    if width > 2 and not all(cells[2].lower() in SPLIT_WORDS for cells in rows):
        return table
    names = ("image", "labels", "split")[:width]
    note = f"{table.file.name} has no header: its columns are taken for {', '.join(names)}"
    first = (table.header_line, list(table.header))
    return replace(table, header=names, rows=[first, *table.rows], notes=(*table.notes, note))


def find_columns(table: RawTable) -> Columns | None:
    """The columns of a table that lists images with labels; None where it is another table."""
    names = [plain(name) for name in table.header]
    if set(names) >= RESULTS_NAMES:
        return None
    image = _first(names, IMAGE_NAMES)
    if image is None:
        image = _weak_image(table, names)
    if image is None:
        return None
    labels = _label_columns(names)
    taken = {image, *labels}
    split = _split_column(table, names, taken)
    confidence = None
    if labels:
        confidence = _first(names, (CONFIDENCE,))
    taken |= {column for column in (split, confidence) if column is not None}
    others = [column for column in range(len(names)) if column not in taken]
    if labels:
        unused = [column for column in others if names[column] not in UNNAMED]
        return Columns(image, labels, split, confidence, (), tuple(unused))
    flags = [column for column in others if _may_be_flags(table, column, names[column])]
    if not flags:
        return None
    unused = [column for column in others if column not in flags and names[column] not in UNNAMED]
    return Columns(image, (), split, None, tuple(flags), tuple(unused))


def require_columns(table: RawTable) -> Columns:
    """As :func:`find_columns`.

    Raises:
        UsageError: the columns are missing or another tool's, or two columns of labels have one name.
    """
    if set(map(plain, table.header)) >= VIA_NAMES:
        raise UsageError(f"{table.file} is VGG Image Annotator's table of regions; export the project as COCO")
    if set(map(plain, table.header)) >= RESULTS_NAMES:
        raise UsageError(f"{table.file} is in {RESULTS}")
    columns = find_columns(table)
    if columns is None:
        advice = ""
        if any(_is_image_name(cell) for cell in table.header):
            advice = "; the first line looks like a row: put a header such as image,labels before it"
        elif _first([plain(name) for name in table.header], IMAGE_NAMES) is not None:
            advice = "; no column is called labels, and none holds 0 and 1"
        got = ", ".join(table.header) or "nothing"
        raise UsageError(f"{table.file}: expected the columns {HEADER}; got: {got[:200]}{advice}")
    names = [table.header[column] for column in columns.flags]
    if len(set(names)) < len(names) or "" in names:
        raise UsageError(f"{table.file}: two label columns have the same name, or one has none: {', '.join(names)}")
    return columns


def _first(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    for name in wanted:
        if name in names:
            return names.index(name)
    return None


def _weak_image(table: RawTable, names: Sequence[str]) -> int | None:
    for name in WEAK_IMAGE_NAMES:
        if name in names:
            column = names.index(name)
            cells = [cells[column] for _, cells in table.rows]
            if cells and all(_is_image_name(cell) for cell in cells):
                return column
    # Kaggle's ids are the names of files without their suffix.
    if names[:1] == ["id"] and _label_columns(names) and not _is_index(table, 0):
        return 0
    return None


def _is_index(table: RawTable, column: int) -> bool:
    """Whether a column counts the rows, from 0 or 1."""
    cells = [cells[column] for _, cells in table.rows]
    return cells[:1] in (["0"], ["1"]) and cells == [str(int(cells[0]) + number) for number in range(len(cells))]


def _is_image_name(cell: str) -> bool:
    return Path(cell.replace("\\", "/")).suffix.lower() in image_suffixes()


def _label_columns(names: Sequence[str]) -> tuple[int, ...]:
    """The column of labels, or several that are numbered: ``label1``, ``label2``."""
    column = _first(names, LABEL_NAMES)
    if column is not None:
        # A name can stand there twice.
        return tuple(at for at, name in enumerate(names) if name == names[column])
    numbered = []
    for column, name in enumerate(names):
        stem = name.rstrip("0123456789")
        if stem != name and stem in LABEL_NAMES:
            numbered.append(column)
    return tuple(numbered)


def _split_column(table: RawTable, names: Sequence[str], taken: set[int]) -> int | None:
    """A column named ``split``, or of a name that can mean a split, whose cells are words for one."""
    for name in SPLIT_NAMES:
        if name not in names or names.index(name) in taken:
            continue
        column = names.index(name)
        words = {cells[column].lower() for _, cells in table.rows}
        if name == "split" or words <= {*SPLIT_WORDS, ""}:
            return column
    return _first(names, tuple(SPLIT_FLAGS))


def _may_be_flags(table: RawTable, column: int, name: str) -> bool:
    """Whether a column can stand for a label: one of its cells is a flag, or a word that should be one."""
    cells = [flag_word(cells[column]) for _, cells in table.rows]
    # A split by numbers, of which nobody knows which is which, is no label.
    if name in SPLIT_NAMES:
        return False
    if name in INDEX_NAMES and _is_index(table, column):
        return False
    return any((cell in FLAGS and cell) or cell in WORDS for cell in cells) or in_words(cells) is not None
