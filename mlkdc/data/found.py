"""What there is instead of a layout that can be read, and why it was not taken."""

import os
import re
from collections import Counter, defaultdict
from pathlib import Path

from mlkdc.data.columns import IMAGE_NAMES, LABEL_NAMES, RESULTS, find_columns, plain, with_header
from mlkdc.data.files import entries, folders_in, images_below
from mlkdc.data.layouts import LAYOUTS
from mlkdc.data.rows import SUFFIXES, first_rows, read_rows
from mlkdc.data.text import read_head
from mlkdc.errors import UsageError
from mlkdc.figures import counted, first_few
from mlkdc.images import image_suffixes

#: Tables that are not text.
_CONVERT = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods"), "a workbook: save its sheet as CSV"),
    ".parquet": "Parquet: write its images as files, and their labels as CSV (pandas.read_parquet)",
    ".arrow": "Arrow, as Hugging Face's save_to_disk writes it: write its images as files, and their labels as CSV",
    ".feather": "Feather: save it as CSV",
    **dict.fromkeys((".tfrecord", ".tfrecords", ".record"), "TFRecord: write its images as files, and labels as CSV"),
    **dict.fromkeys((".pkl", ".pickle"), "a pickle, which is not opened: save what it holds as CSV"),
    **dict.fromkeys((".mat", ".h5", ".hdf5", ".npz", ".npy"), "arrays: save images as files, and their labels as CSV"),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"), "an archive: unpack it"),
}
#: JSON of other tools, by words in its head, and how to get from there to one that is read.
_OTHER_JSON = {
    ("classTitle",): "Supervisely's annotations: export the project as COCO or Pascal VOC",
    ('"regions"', '"file_attributes"'): "VGG Image Annotator's project: export it as COCO",
    ('"_via_img_metadata"',): "VGG Image Annotator's project: export it as COCO",
    ('"asset"', '"regions"'): "VoTT's: export it as Pascal VOC or CSV",
    ("data_row",): "Labelbox's: convert it to COCO",
    ('"image_id"', '"category_id"', '"score"'): RESULTS,
}
#: An object that begins with a text and what belongs to it.
_BY_TEXT = re.compile(r'\s*\{\s*"([^"]+)"\s*:\s*["\[{]')
#: An object of objects whose first key is a row's number.
_BY_COLUMN = re.compile(r'\s*\{\s*"[^"]+"\s*:\s*\{\s*"\d+"\s*:')
SHOWN_FILES = 6
#: Of a folder, since there may be one for each image.
SEEN_FILES = 200
SEEN_FOLDERS = 40
SHOWN_FOLDERS = 4


def describe(root: Path) -> str:
    """What is there."""
    if root.is_file():
        return _why_not(root) or "not an index file of any layout"
    if not os.access(root, os.R_OK | os.X_OK):
        return "may not be read; check its permissions"
    if not entries(root):
        return "an empty folder"
    images = sum(1 for _ in images_below(root))
    files: dict[str, list[str]] = defaultdict(list)
    for folder in _looked_into(root):
        for file in entries(folder)[:SEEN_FILES]:
            files[_why_not(file)].append(os.path.relpath(file, root))
    reasons = []
    for reason, names in files.items():
        if reason:
            reasons.append(f"{first_few(names, 1)}: {reason}")
    if not images:
        return "; ".join(["a folder with neither images nor labels", *_first(reasons)])
    return "; ".join([f"a folder of {counted(images, 'image')} without labels", *_folders(root), *_first(reasons)])


def _looked_into(root: Path) -> list[Path]:
    """The folder, those in it, and those in these, up to a number."""
    folders = [root, *folders_in(root)]
    for folder in folders_in(root):
        folders += folders_in(folder)
    return folders[:SEEN_FOLDERS]


def _first(reasons: list[str]) -> list[str]:
    if len(reasons) > SHOWN_FILES:
        return [*reasons[:SHOWN_FILES], f"and {len(reasons) - SHOWN_FILES} more"]
    return reasons


def _folders(root: Path) -> list[str]:
    """Whether the folders could be the labels."""
    names = Counter(image.parent.name for image in images_below(root) if image.parent != root)
    if len(names) < 2:
        return []
    shown = ", ".join(sorted(names)[:SHOWN_FOLDERS])
    return [f"if its folders ({shown}) are the labels, say so: `--set data.layout=folders`"]


def _why_not(file: Path) -> str:
    """Why a file that could hold labels was not taken; empty for other files."""
    suffix = file.suffix.lower()
    readers = [name for name, layout in LAYOUTS.items() if os.path.isfile(file) and layout.detect(file)]
    if readers and suffix not in SUFFIXES:
        return f"{readers[0]} could read it: point --data at this file"
    if suffix in _CONVERT:
        return _CONVERT[suffix]
    if suffix in SUFFIXES:
        return _why_no_table(file)
    if suffix == ".json":
        return _why_not_json(file)
    if suffix == ".txt":
        return _why_not_text(_first_line(file))
    if suffix == ".xml":
        return "XML is read as Pascal VOC's (in Annotations/, or next to the image) or CVAT's (<annotations>)"
    return ""


def _why_not_json(file: Path) -> str:
    head = read_head(file)
    for words, what in _OTHER_JSON.items():
        if all(word in head for word in words):
            return what
    by_image = _BY_TEXT.match(head)
    if by_image and _is_image_name(by_image[1]):
        return 'labels by image: write it as a list, [{"image": "a.jpg", "labels": ["cat"]}, ...]'
    if _BY_COLUMN.match(head):
        return "a table by columns, as pandas writes it: write it with DataFrame.to_json(orient='records')"
    start = " ".join(read_head(file, 200).split())[:60]
    return f"neither COCO's nor Label Studio's JSON; it begins with {start}"


def _first_line(file: Path) -> str:
    return read_head(file, 1 << 12).lstrip().partition("\n")[0]


def _why_not_text(line: str) -> str:
    """Of a text file that begins with this line."""
    if any(plain(name) in IMAGE_NAMES for name in re.split("[,;\t]", line)):
        return "a table? rename it to .csv or .tsv"
    if re.fullmatch(r"\d+( [\d.]+){4,}", line.strip()):
        return "a label file of YOLO, which is read next to its image, or from labels/ next to images/"
    words = re.split(r"[\s,;]+", line.strip())
    if any(map(_is_image_name, words)):
        return (
            "lines with images, but not an image and 0/1 flags, as image lists have them; write a table: image,labels"
        )
    return ""


def _is_image_name(word: str) -> bool:
    return os.path.splitext(word)[1].lower() in image_suffixes()


def _why_no_table(file: Path) -> str:
    table = with_header(first_rows(file))
    try:
        if find_columns(table) is not None:
            return "a table of labels, where it is not looked for: point --data at it"
    except UsageError as error:
        return str(error)
    if not table.header:
        try:
            read_rows(file)
        except UsageError as error:
            return str(error)
    names = [plain(name) for name in table.header]
    got = ", ".join(table.header)[:80] or "none"
    if not any(name in IMAGE_NAMES for name in names):
        return f"no column of images ({', '.join(IMAGE_NAMES[:3])}, filename, ...); its columns are {got}"
    return f"no column of labels ({', '.join(LABEL_NAMES[:4])}, ...) and no 0/1 columns; its columns are {got}"
