"""YOLO's label files, as Ultralytics, Roboflow and CVAT write them: a text file for each image, a box a line.

An image without a file, or with an empty one, has no label. Boxes are fractions of an image's size, which is not known
before it is opened: only their classes are read.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from mlkdc.data.files import entries, folders_in, images_below
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, ReadOptions, read_lines, read_text
from mlkdc.data.splits import split_of_name
from mlkdc.data.text import clean_label, read_head
from mlkdc.errors import UsageError
from mlkdc.types import Sample, TaggedImages

#: Numbers in a line, at least: class, center, width, height.
_NUMBERS = 5
_NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt")


@dataclass(frozen=True)
class _Part:
    """Images and the folder of their label files, which may be one."""

    images: Path
    labels: Path
    split: str


def _folder(path: Path) -> Path:
    """The folder of the data, which may be named by its data.yaml."""
    if path.suffix in (".yaml", ".yml") and path.is_file():
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
    return _only_filled(parts)


def _only_filled(parts: list[_Part]) -> list[_Part]:
    """The parts that hold label files; one alone is split here."""
    filled = [part for part in parts if any(map(_is_label_file, entries(part.labels)))]
    if len(filled) == 1:
        return [_Part(filled[0].images, filled[0].labels, UNSPLIT)]
    return filled


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


def _classes(path: Path) -> tuple[str, ...]:
    """From data.yaml, or a file with one class a line."""
    for file in entries(path):
        if file.suffix in (".yaml", ".yml"):
            names = _yaml_names(file)
            if names:
                return names
    for name in _NAME_FILES:
        if os.path.isfile(path / name):
            return tuple(clean_label(line) for line in read_lines(path / name))
    raise UsageError(f"{path}: YOLO's label files hold numbers; put data.yaml with 'names' or classes.txt there")


def _yaml_names(file: Path) -> tuple[str, ...]:
    try:
        content = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        raise UsageError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict):
        names = [names[number] for number in sorted(names)]
    if not isinstance(names, list):
        return ()
    return tuple(clean_label(str(name)) for name in names)


def _labels(file: Path, classes: int) -> tuple[int, ...]:
    labels = set()
    for line in read_lines(file):
        number = line.split()[0]
        if not number.isdecimal() or int(number) >= classes:
            raise UsageError(f"{file}: expected lines that begin with a class, 0 to {classes - 1}; got {line[:40]!r}")
        labels.add(int(number))
    return tuple(sorted(labels))


def read(path: Path, options: ReadOptions) -> TaggedImages:
    """All images of the folders, with the classes of their label files."""
    folder = _folder(path)
    classes = _classes(folder)
    samples = []
    for part in _parts(folder):
        for image in images_below(part.images):
            file = part.labels / image.relative_to(part.images).with_suffix(".txt")
            labels = _labels(file, len(classes)) if os.path.isfile(file) else ()
            samples.append(Sample(image, labels, part.split))
    return TaggedImages(folder.name, path, "yolo", classes, tuple(samples))


def _detect(path: Path) -> bool:
    return bool(_parts(_folder(path)))


LAYOUTS.register("yolo")(
    Layout(
        "YOLO: images/{train,val}/* and labels/{train,val}/*.txt, or {train,valid}/{images,labels}, or without splits; "
        "data.yaml or classes.txt",
        _detect,
        read,
    )
)
