"""Pascal VOC, the devkit's layout (Everingham et al., 2010), with VOC's classes or the user's own.

Labels come from the objects of Annotations/*.xml. An object marked "difficult" counts: the thing is in the image,
and the released code of the multi-label distillation papers (L2D) reads it so. The challenge's evaluation instead skips
a (class, image) pair of which all objects are difficult; its results are not comparable to the last digit.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from mlkdc.data.files import entries, folders_in, images_by_stem
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, ReadOptions, read_lines
from mlkdc.data.splits import split_of_name
from mlkdc.data.text import clean_label, read_head
from mlkdc.data.voc_lists import IMAGES, LISTS, TRAIN_AND_VAL, class_lists, listed_image, stored_images
from mlkdc.data.voc_xml import Annotation, read_annotation
from mlkdc.errors import UsageError
from mlkdc.figures import counted
from mlkdc.types import SPLITS, Box, Problem, Sample, TaggedImages

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
#: Files with one class a line; CVAT's has colors behind a colon and comments.
CLASS_FILES = ("classes.txt", "labels.txt", "labelmap.txt", "predefined_classes.txt")
_HEAD_BYTES = 1024


@dataclass(frozen=True)
class _Image:
    """An image of a split and where it and its annotation are."""

    image: Path
    xml: Path
    split: str


def _years(path: Path) -> list[Path]:
    """The VOC20xx folders that ``path`` is or holds."""
    years = []
    devkit = folders_in(path / "VOCdevkit")
    for folder in (path, *(each for each in [*folders_in(path), *devkit] if each.name.startswith("VOC"))):
        if has_annotations(folder):
            years.append(folder)
    return years


def has_annotations(folder: Path) -> bool:
    """Whether XML files lie where the devkit has them."""
    return bool(_xml_files(folder / "Annotations"))


def _xml_files(folder: Path) -> list[Path]:
    return [file for file in entries(folder) if file.suffix.lower() == ".xml"]


def _split_folders(path: Path) -> list[tuple[Path, str]]:
    """The folders train, valid and test, or ``path``, that hold XML files next to images, as Roboflow writes them."""
    folders = []
    for folder in folders_in(path):
        split = split_of_name(folder)
        if split is not None and _annotations(folder):
            folders.append((folder, split))
    if not folders and _annotations(path):
        folders.append((path, UNSPLIT))
    return folders


def _annotations(folder: Path) -> list[Path]:
    """The XML files that are of one image each, unlike CVAT's own."""
    files = _xml_files(folder)
    if files and not re.search(r"<annotation[\s>]", read_head(files[0], _HEAD_BYTES)):
        return []
    return files


def _listed(folder: Path, name: str) -> list[str] | None:
    """The images that a list names; a flag may stand behind the name."""
    listed = folder / LISTS / f"{name}.txt"
    if not os.path.isfile(listed):
        return None
    return [listed_image(line)[0] for line in read_lines(listed)]


def _lists(folder: Path) -> dict[str, list[str]]:
    """Names of images by split: of train, val and test.txt, of trainval.txt without val's, else of any one list."""
    lists: dict[str, list[str]] = {}
    for split in SPLITS:
        names = _listed(folder, split)
        if names is not None:
            lists[split] = names
    both = _listed(folder, TRAIN_AND_VAL)
    if "train" not in lists and both is not None:
        val = set(lists.get("val", ()))
        lists["train"] = [name for name in both if name not in val]
    if not lists:
        others = [file.stem for file in entries(folder / LISTS) if file.suffix == ".txt" and "_" not in file.stem]
        if len(others) == 1:
            lists[UNSPLIT] = _listed(folder, others[0]) or []
    if not lists and not os.path.isdir(folder / LISTS):
        lists[UNSPLIT] = [file.stem for file in _xml_files(folder / "Annotations")]
    # A list alone is split here, whatever its name.
    if len(lists) == 1:
        (names,) = lists.values()
        return {UNSPLIT: names}
    return lists


def _images(folder: Path, problems: list[Problem]) -> list[_Image]:
    """The listed images that have annotations; what is skipped is added to ``problems``."""
    stored = stored_images(folder)
    images = []
    for split, names in _lists(folder).items():
        annotated, missing = [], []
        for name in names:
            file = folder / "Annotations" / f"{name}.xml"
            if os.path.isfile(file):
                annotated.append(_Image(stored.get(name, folder / IMAGES[0] / f"{name}.jpg"), file, split))
            else:
                missing.append(file)
        if missing and not annotated:
            # VOC2012's test annotations were never published.
            listed = folder / LISTS / f"{split or 'the list'}.txt"
            problems.append(Problem("split without annotations", str(listed), f"{len(missing)} images are skipped"))
            continue
        for file in missing:
            problems.append(Problem("missing file", str(file), "its image is skipped"))
        images += annotated
    return images


def _images_of(years: list[Path], problems: list[Problem], notes: list[str]) -> list[_Image]:
    """The images of one data set, or of several that are read together, as VOC2007 and VOC2012 are."""
    images = []
    for folder in years:
        images += _images(folder, problems)
    if len(years) == 1:
        return images
    shown = " and ".join(folder.name for folder in years)
    lists = {file.read_bytes() for folder in years for file in _class_files(folder)}
    unsplit = {image.split == UNSPLIT for image in images}
    if len(lists) > 1 or len(unsplit) > 1:
        raise UsageError(
            f"{years[0].parent} holds {shown}, whose classes or splits do not go together; point --data at one of them"
        )
    notes.append(f"{shown} are read together; for one of them: --data {years[0]}")
    return images


def _beside(folders: list[tuple[Path, str]]) -> list[_Image]:
    """The images of split folders."""
    images = []
    for folder, split in folders:
        stored = images_by_stem(folder)
        for xml in _xml_files(folder):
            of_split = split if len(folders) > 1 else UNSPLIT
            images.append(_Image(stored.get(xml.stem, xml.with_suffix(".jpg")), xml, of_split))
    return images


def _classes(folder: Path, names: set[str], notes: list[str]) -> tuple[str, ...]:
    """From a list of classes; VOC's own; else those that occur in the annotations and in ImageSets, sorted."""
    for file in _class_files(folder):
        return _class_file(file)
    in_lists = {name for _, name, _ in class_lists(folder)}
    like_voc = names <= set(CLASSES) and folder.name.startswith("VOC")
    if like_voc or in_lists >= set(CLASSES):
        return CLASSES
    classes = tuple(sorted(names | in_lists))
    notes.append(f"{counted(len(classes), 'label')}: those that occur in the annotations, sorted")
    return classes


def _class_files(folder: Path) -> list[Path]:
    return [folder / name for name in CLASS_FILES if os.path.isfile(folder / name)]


def _class_file(file: Path) -> tuple[str, ...]:
    names = []
    for line in read_lines(file):
        name = clean_label(line.partition(":")[0])
        # CVAT lists the background of segmentations as well.
        if not line.startswith("#") and name != "background":
            names.append(name)
    if not names:
        raise UsageError(f"{file}: expected one class per line, got none")
    return tuple(dict.fromkeys(names))


def _sample(image: _Image, found: Annotation, number: dict[str, int], problems: list[Problem]) -> Sample:
    labels = set()
    for name in found.names:
        if name in number:
            labels.add(number[name])
        else:
            problems.append(
                Problem("unknown label", str(image.xml), f"{name!r} is not one of the {len(number)} classes")
            )
    boxes = [Box(number[name], *corners) for name, corners in found.boxes if name in number]
    return Sample(image.image, tuple(sorted(labels)), image.split, tuple(boxes))


def read(path: Path, options: ReadOptions) -> TaggedImages:
    """The official train, val and test lists, as far as they exist."""
    years, problems, notes = _years(path), list[Problem](), list[str]()
    folder = path
    if years:
        folder = years[0]
        images = _images_of(years, problems, notes)
    else:
        images = _beside(_split_folders(path))
    if not images:
        raise UsageError(f"{folder / LISTS}: expected train.txt, val.txt or test.txt with annotated images")
    found = [read_annotation(image.xml) for image in images]
    names = {name for annotation in found for name in annotation.names}
    classes = _classes(folder, names, notes)
    number = {name: label for label, name in enumerate(classes)}
    samples = [_sample(image, annotation, number, problems) for image, annotation in zip(images, found, strict=True)]
    name = folder.name if len(years) < 2 else path.name
    return TaggedImages(name, path, "voc", classes, tuple(samples), tuple(problems), notes=tuple(notes))


def _detect(path: Path) -> bool:
    return bool(_years(path) or _split_folders(path))


LAYOUTS.register("voc")(
    Layout(
        "VOCdevkit or its VOC2007 or VOC2012: ImageSets/Main/{train,val,test}.txt, Annotations/*.xml, JPEGImages/*, "
        "with VOC's classes or your own; or XML next to the images, in one folder or in train, valid, test",
        _detect,
        read,
    )
)
