"""Pascal VOC without annotations: the lists of its classification task, one for each class and split."""

import os
from collections.abc import Iterator
from pathlib import Path

from mlkdc.data.files import folders_in
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, ReadOptions, read_lines
from mlkdc.data.layouts.voc import has_annotations
from mlkdc.data.splits import SPLIT_WORDS
from mlkdc.data.voc_lists import FLAGS, IMAGES, LISTS, TRAIN_AND_VAL, class_lists, listed_image, stored_images
from mlkdc.errors import UsageError
from mlkdc.types import Sample, TaggedImages


def _folder(path: Path) -> Path | None:
    """The folder that holds the lists: ``path``, or the only such one in it or in its VOCdevkit."""
    inside = [*folders_in(path), *folders_in(path / "VOCdevkit")]
    found = [folder for folder in (path, *inside) if not has_annotations(folder) and any(_lists(folder))]
    return found[0] if len(found) == 1 else None


def _lists(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """Each list with its class and its word for the split."""
    for file, class_name, word in class_lists(folder):
        if file.suffix == ".txt":
            yield file, class_name, word


def _rows(file: Path) -> Iterator[tuple[str, bool]]:
    """The images of a list, and whether they show its class."""
    for line in read_lines(file):
        name, flag = listed_image(line)
        if not flag:
            raise UsageError(f"{file}: expected lines of an image and 1, 0 or -1; got {line[:80]!r}")
        yield name, FLAGS[flag]


def _by_split(folder: Path) -> dict[str, dict[str, set[str]]]:
    """For each split its images, and the classes that each shows."""
    splits: dict[str, dict[str, set[str]]] = {}
    for file, class_name, word in _lists(folder):
        images = splits.setdefault(SPLIT_WORDS.get(word, word), {})
        for name, shown in _rows(file):
            labels = images.setdefault(name, set())
            if shown:
                labels.add(class_name)
    both = splits.pop(TRAIN_AND_VAL, {})
    if "train" not in splits and both:
        val = splits.get("val", {})
        splits["train"] = {name: labels for name, labels in both.items() if name not in val}
    return splits


def read(path: Path, options: ReadOptions) -> TaggedImages:
    """The images that the lists name, with the classes that they have there."""
    folder = _folder(path)
    if folder is None:
        raise UsageError(f"{path}: expected one folder with {LISTS}/CLASS_train.txt and no Annotations")
    classes = tuple(sorted({class_name for _, class_name, _ in _lists(folder)}))
    number = {class_name: label for label, class_name in enumerate(classes)}
    stored = stored_images(folder)
    splits = _by_split(folder)
    samples = []
    for split, images in splits.items():
        # One alone is split here.
        name_of_split = split if len(splits) > 1 else UNSPLIT
        for name, shown in images.items():
            image = stored.get(name, folder / IMAGES[0] / f"{name}.jpg")
            samples.append(Sample(image, tuple(sorted(number[label] for label in shown)), name_of_split))
    return TaggedImages(folder.name, path, "voclists", classes, tuple(samples))


def _detect(path: Path) -> bool:
    return os.path.isdir(path) and _folder(path) is not None


LAYOUTS.register("voclists")(
    Layout(
        "VOC's lists without its annotations: ImageSets/Main/CLASS_{train,val,test,trainval}.txt with lines of an "
        "image and 1, 0 or -1, JPEGImages/*",
        _detect,
        read,
    )
)
