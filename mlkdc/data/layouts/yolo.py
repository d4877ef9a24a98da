"""YOLO's label files, as Ultralytics, Roboflow and CVAT write them: a text file for each image, a box a line.

An image without a file, or with an empty one, has no label. Boxes are fractions of an image's size, which is not known
before it is opened: only their classes are read.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from mlkdc.data.files import entries, folders_in, images_below, images_by_stem
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, ReadOptions, read_lines, read_text
from mlkdc.data.splits import split_of_name
from mlkdc.data.text import clean_label, read_head
from mlkdc.errors import UsageError
from mlkdc.types import Sample, TaggedImages

#: Numbers in a line, at least: class, center, width, height.
_NUMBERS = 5
_YAML = (".yaml", ".yml")
_NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt", "images/classes.txt", "train/classes.txt")


@dataclass(frozen=True)
class _Part:
    """Images and the folder of their label files, which may be one."""

    images: Path
    labels: Path
    split: str


def _folder(path: Path) -> Path:
    """The folder of the data, which may be named by its data.yaml."""
    if path.suffix in _YAML and path.is_file():
        return path.parent
    return path


def _parts(path: Path) -> list[_Part]:
    parts = []
    for folder in folders_in(path / "labels"):
        split = split_of_name(folder)
        if split is not None:
            parts.append(_Part(path / "images" / folder.name, folder, split))
    for folder in folders_in(path):
        split = split_of_name(folder)
        if split is not None and os.path.isdir(folder / "labels"):
            parts.append(_Part(folder / "images", folder / "labels", split))
    for name, split in (("obj_train_data", "train"), ("obj_valid_data", "val"), ("obj_test_data", "test")):
        parts.append(_Part(path / name, path / name, split))
    parts.append(_Part(path / "images", path / "labels", UNSPLIT))
    parts = _filled(parts) or _filled(_beside(path))
    # One alone is split here.
    if len(parts) == 1:
        return [_Part(parts[0].images, parts[0].labels, UNSPLIT)]
    return parts


def _beside(path: Path) -> list[_Part]:
    """Folders where label files can lie next to the images, as labelImg writes them."""
    parts = []
    for folder in folders_in(path):
        split = split_of_name(folder)
        if split is not None and _images_with_text(folder):
            parts.append(_Part(folder, folder, split))
    for folder in (path, path / "images"):
        if not parts and _images_with_text(folder):
            parts.append(_Part(folder, folder, UNSPLIT))
    return parts


def _images_with_text(folder: Path) -> bool:
    """Whether a text file is called as an image next to it; lists of numbers, as NUS-WIDE's, are not."""
    stems = images_by_stem(folder)
    return any(file.suffix == ".txt" and file.stem in stems for file in entries(folder))


def _filled(parts: list[_Part]) -> list[_Part]:
    """The parts that hold label files."""
    return [part for part in parts if any(map(_is_label_file, entries(part.labels)))]


def _is_label_file(file: Path) -> bool:
    """Whether a file has numbers as YOLO writes them in its first line."""
    if file.suffix != ".txt":
        return False
    words = read_head(file, 512).partition("\n")[0].split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return False
    return len(numbers) >= _NUMBERS and words[0].isdecimal()


def _names(path: Path) -> dict[int, str]:
    """The classes by their numbers: from data.yaml, which may be what was named, or a file with one class a line."""
    folder = _folder(path)
    files = entries(folder) if path == folder else [path]
    found = [(file, names) for file in files if file.suffix in _YAML and (names := _yaml_names(file))]
    for file, names in found[1:]:
        if names != found[0][1]:
            raise UsageError(
                f"{folder}: {found[0][0].name} and {file.name} name other classes; say which: --data {file}"
            )
    if found:
        return found[0][1]
    for name in _NAME_FILES:
        if os.path.isfile(folder / name):
            return _listed_names(folder / name)
    raise UsageError(f"{folder}: YOLO's label files hold numbers; put data.yaml with 'names' or classes.txt there")


def _listed_names(file: Path) -> dict[int, str]:
    lines = [line.strip() for line in read_text(file).rstrip().splitlines()]
    if not lines:
        raise UsageError(f"{file} is empty; expected the classes, one a line, in the order of their numbers")
    if "" in lines:
        raise UsageError(
            f"{file}: line {lines.index('') + 1} is blank, and a class has the number of its line; name the class that "
            "belongs there, or delete the line"
        )
    return {number: clean_label(line) for number, line in enumerate(lines)}


def _yaml_names(file: Path) -> dict[int, str]:
    try:
        # With a loader that keeps text as it is: a class may be called yes, no or null.
        content = yaml.load(read_text(file), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise UsageError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UsageError(f"{file}: nested too deeply; expected the list of the classes under 'names'") from None
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if not isinstance(names, dict):
        return {}
    by_number = {}
    for number, name in names.items():
        class_number = _number(number)
        if class_number is None or not isinstance(name, str):
            raise UsageError(f"{file}: expected numbers and names of classes under 'names', got {number}: {name}")
        by_number[class_number] = clean_label(name)
    return dict(sorted(by_number.items()))


def _number(text: str) -> int | None:
    """Of a class; None for anything else, as for more digits than Python reads."""
    return int(text) if text.isdecimal() and len(text) < 10 else None


def _labels(file: Path, label_of: Mapping[int, int]) -> tuple[int, ...]:
    """``label_of``: each number that names a class."""
    labels = set()
    for line in read_lines(file):
        number = _number(line.split()[0])
        if number is None or number not in label_of:
            numbers = f"{min(label_of)} to {max(label_of)}"
            raise UsageError(f"{file}: expected lines that begin with a class, {numbers}; got {line[:40]!r}")
        labels.add(label_of[number])
    return tuple(sorted(labels))


def read(path: Path, options: ReadOptions) -> TaggedImages:
    """All images of the folders, with the classes of their label files."""
    folder = _folder(path)
    names = _names(path)
    label_of = {number: label for label, number in enumerate(names)}
    samples = []
    for part in _parts(folder):
        for image in images_below(part.images):
            file = part.labels / image.relative_to(part.images).with_suffix(".txt")
            labels = _labels(file, label_of) if os.path.isfile(file) else ()
            samples.append(Sample(image, labels, part.split))
    return TaggedImages(folder.name, path, "yolo", tuple(names.values()), tuple(samples))


def _detect(path: Path) -> bool:
    return bool(_parts(_folder(path)))


LAYOUTS.register("yolo")(
    Layout(
        "YOLO: images/{train,val}/* and labels/{train,val}/*.txt, or {train,valid}/{images,labels}, or label files "
        "next to the images, or without splits; data.yaml or classes.txt",
        _detect,
        read,
    )
)
