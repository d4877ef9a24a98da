"""One folder for each label, its images below. Any folders of images look like that, so the user must choose it."""

from pathlib import Path

from mlkdc.data.files import folders_in, images_below
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, ReadOptions
from mlkdc.data.splits import split_of_name
from mlkdc.data.text import clean_label
from mlkdc.types import Sample, TaggedImages


def _parts(path: Path) -> list[tuple[Path, str]]:
    """The folders that hold folders of labels: those of splits, else ``path`` itself."""
    splits = []
    for folder in _filled(path):
        split = split_of_name(folder)
        if split is None:
            return [(path, UNSPLIT)]
        splits.append((folder, split))
    if len(splits) < 2:
        return [(path, UNSPLIT)]
    return splits


def _filled(path: Path) -> list[Path]:
    """The folders that have an image somewhere below."""
    return [folder for folder in folders_in(path) if any(True for _ in images_below(folder))]


def read(path: Path, options: ReadOptions) -> TaggedImages:
    """Each image has the label that its folder is called, in alphabetical order."""
    found = []
    for part, split in _parts(path):
        for folder in folders_in(part):
            found += [(image, clean_label(folder.name), split) for image in images_below(folder)]
    classes = tuple(sorted({name for _, name, _ in found}))
    number = {name: label for label, name in enumerate(classes)}
    samples = tuple(Sample(image, (number[name],), split) for image, name, split in found)
    return TaggedImages(path.name, path, "folders", classes, samples)


def _detect(path: Path) -> bool:
    return bool(_filled(path))


LAYOUTS.register("folders")(
    Layout(
        "a folder of images for each label, also in folders train, val, test; only with data.layout=folders",
        _detect,
        read,
        automatic=False,
    )
)
