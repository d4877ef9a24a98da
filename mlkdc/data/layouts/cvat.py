"""CVAT's own XML ("CVAT for images"): all images of a task in one file, with tags and shapes."""

import os
import xml.etree.ElementTree as ET
from pathlib import Path

from mlkdc.data.files import entries
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, ReadOptions
from mlkdc.data.splits import split_of_name
from mlkdc.data.text import clean_label, read_head
from mlkdc.data.voc_xml import read_xml
from mlkdc.errors import UsageError
from mlkdc.types import SPLITS, Sample, TaggedImages

_HEAD_BYTES = 1 << 14


def _file(path: Path) -> Path | None:
    if path.is_file():
        return path if _is_cvat(path) else None
    files = [file for file in entries(path) if _is_cvat(file)]
    return files[0] if len(files) == 1 else None


def _is_cvat(file: Path) -> bool:
    if file.suffix.lower() != ".xml":
        return False
    head = read_head(file, _HEAD_BYTES)
    return "<annotations>" in head and ("<version>" in head or "<image " in head)


def _place(base: Path, name: str, subset: str) -> Path:
    """Where an image is: in ``images``, with or without a folder for its subset, else next to the file."""
    for folder in (base / "images", base / "images" / subset, base):
        if os.path.isfile(folder / name):
            return folder / name
    return base / "images" / name


def read(path: Path, options: ReadOptions) -> TaggedImages:
    """Labels are those of tags and of shapes of every kind; splits are the subsets, if all are called so."""
    file = _file(path)
    assert file is not None, "detect() comes first"
    root = read_xml(file)
    if root.find("track") is not None:
        raise UsageError(f'{file}: CVAT\'s XML of a video; export the task as "CVAT for images", or as COCO')
    found = []
    for image in root.findall("image"):
        names = {clean_label(item.get("label", "")) for item in image} - {""}
        name, subset = image.get("name", ""), image.get("subset", "")
        if not name:
            raise UsageError(f"{file}: image {image.get('id', '?')} has no name")
        found.append((_place(file.parent, name, subset), names, split_of_name(Path(subset))))
    occurring = sorted(set().union(*(names for _, names, _ in found)))
    classes = tuple(dict.fromkeys([*_listed(root), *occurring]))
    number = {name: label for label, name in enumerate(classes)}
    official = len({split for _, _, split in found}) > 1 and all(split in SPLITS for _, _, split in found)
    samples = []
    for place, names, split in found:
        of_image = split if official and split is not None else UNSPLIT
        samples.append(Sample(place, tuple(sorted(number[name] for name in names)), of_image))
    return TaggedImages(file.parent.name, path, "cvat", classes, tuple(samples))


def _listed(root: ET.Element) -> list[str]:
    """The labels that the task has, also those that no image has."""
    names = []
    for labels in root.iter("labels"):
        for label in labels.findall("label"):
            names.append(clean_label(label.findtext("name", "")))
    return [name for name in names if name]


def _detect(path: Path) -> bool:
    return _file(path) is not None


LAYOUTS.register("cvat")(
    Layout('CVAT\'s annotations.xml ("CVAT for images"), or a folder with it and the images', _detect, read)
)
