"""What lies around the annotations of Pascal VOC's devkit: its lists of images and classes, and the images."""

import os
from collections.abc import Iterator
from pathlib import Path

from mlkdc.data.files import entries, images_by_stem
from mlkdc.data.splits import SPLIT_WORDS
from mlkdc.data.text import clean_label
from mlkdc.images import image_suffixes

LISTS = "ImageSets/Main"
TRAIN_AND_VAL = "trainval"
#: Behind an image's name in the list of a class. 0 is "difficult": the thing is in the image, as annotations are read.
FLAGS = {"1": True, "0": True, "-1": False}
IMAGES = ("JPEGImages", "images", "Images", "")


def class_lists(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """The files called CLASS_SPLIT, each with its class and its word for the split."""
    for file in entries(folder / LISTS):
        name, _, word = file.stem.rpartition("_")
        if name and word in (*SPLIT_WORDS, TRAIN_AND_VAL):
            yield file, clean_label(name), word


def listed_image(line: str) -> tuple[str, str]:
    """The image that a line of a list names, also by its folder and suffix, and the flag behind it, or ""."""
    name, _, flag = line.rpartition(" ")
    if not name or flag not in FLAGS:
        return _without_folder_and_suffix(line), ""
    return _without_folder_and_suffix(name.strip()), flag


def _without_folder_and_suffix(listed: str) -> str:
    stem, suffix = os.path.splitext(listed.replace("\\", "/").rpartition("/")[2])
    return stem if suffix.lower() in image_suffixes() else listed


def stored_images(folder: Path) -> dict[str, Path]:
    """The image files by their names without suffix, whatever that is."""
    for name in IMAGES:
        files = images_by_stem(folder / name)
        if files:
            return files
    return {}
