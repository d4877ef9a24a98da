"""MS-COCO instances JSON (Lin et al., 2014), and what other tools export in its form.

Images without any annotation are skipped and counted in a problem, as in the published multi-label results:
82,081 of 82,783 train2014 and 40,137 of 40,504 val2014 images. Crowd annotations count.
"""

import os
import re
from collections import defaultdict
from pathlib import Path

from mlkdc.data.coco_json import Category, Instances, load_instances, to_boxes
from mlkdc.data.files import entries, folders_in
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, ReadOptions
from mlkdc.data.splits import split_alone, split_of_name
from mlkdc.data.text import read_head
from mlkdc.errors import UsageError
from mlkdc.figures import counted
from mlkdc.types import SPLITS, Problem, Sample, TaggedImages

_INSTANCES = re.compile(r"instances_(train|val|test)(\d{4})?\.json")
_ROBOFLOW = "_annotations.coco.json"
#: A file of another name is COCO's if it begins like an object with two of these keys.
_KEYS = ('"images"', '"annotations"', '"categories"', '"info"', '"licenses"')
MOST_FILES = 50
#: Other files of COCO, with other annotations.
_OTHER = ("captions_", "person_keypoints_", "panoptic_", "stuff_")


def _files(path: Path) -> dict[str, dict[str, Path]]:
    """Files by year and split; a file stands for its year. A file alone is in the split ``UNSPLIT``."""
    if path.is_file():
        named = _INSTANCES.fullmatch(path.name)
        if named:
            year = named[2] or ""
            return {year: _instances_in([path.parent])[year]}
        return {"": {UNSPLIT: path}} if _is_coco(path) else {}
    years = _instances_in([path / "annotations", path])
    if years:
        return years
    by_split = {}
    for folder in folders_in(path):
        split = split_of_name(folder)
        if split is not None and os.path.isfile(folder / _ROBOFLOW):
            by_split[split] = folder / _ROBOFLOW
    others = by_split or _others_in(path / "annotations") or _others_in(path)
    return {"": others} if others else {}


def _instances_in(folders: list[Path]) -> dict[str, dict[str, Path]]:
    years: dict[str, dict[str, Path]] = defaultdict(dict)
    for folder in folders:
        for file in entries(folder):
            named = _INSTANCES.fullmatch(file.name)
            if named:
                years[named[2] or ""].setdefault(named[1], file)
    return dict(years)


def _others_in(folder: Path) -> dict[str, Path]:
    """COCO files of other names: one, or one for each split."""
    # Other tools write a file for each image, too many to look into.
    candidates = [file for file in entries(folder) if file.suffix.lower() == ".json"]
    if len(candidates) > MOST_FILES:
        return {}
    files = [file for file in candidates if _is_coco(file)]
    if len(files) == 1:
        return {UNSPLIT: files[0]}
    by_split = {}
    for file in files:
        split = split_of_name(file)
        if split is not None:
            by_split[split] = file
    return by_split if len(by_split) == len(files) else {}


def _is_coco(file: Path) -> bool:
    if file.suffix.lower() != ".json" or file.name.startswith(_OTHER):
        return False
    head = read_head(file)
    return head.lstrip().startswith("{") and sum(key in head for key in _KEYS) > 1


def _root(file: Path) -> Path:
    if file.parent.name == "annotations":
        return file.parent.parent
    return file.parent


def _image_folder(file: Path, image: Path) -> Path:
    """The folder that holds an image; COCO's folder for the split when none does."""
    root = _root(file)
    split_folder = file.stem.removeprefix("instances_")
    folders = (root / split_folder, root / "images" / split_folder, root / "images", root / "data", root)
    for folder in folders:
        if os.path.isfile(folder / image):
            return folder
    return folders[0]


def _labels(categories: dict[str, Category], notes: list[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """The classes in the order of the ids, and the label of each id; categories of one name are one label."""
    label_of: dict[str, int] = {}
    first_of: dict[str, str] = {}
    for number, category in categories.items():
        first = first_of.setdefault(category.name, number)
        if first != number:
            notes.append(f"categories {first} and {number} are both called {category.name!r}: one label")
            label_of[number] = label_of[first]
            continue
        label_of[number] = len(first_of) - 1
    return tuple(first_of), label_of


def _without_root(categories: dict[str, Category], used: set[str], notes: list[str]) -> dict[str, Category]:
    """The categories without the one that Roboflow puts above all others, which no image has."""
    above = {category.above for category in categories.values()}
    kept = {}
    for number, category in categories.items():
        if number not in used and category.above.lower() in ("", "none") and category.name in above:
            notes.append(f"category {number}, {category.name!r}, is only the one above others and no label")
            continue
        kept[number] = category
    return kept


def _samples(
    file: Path, instances: Instances, split: str, label_of: dict[str, int], problems: list[Problem]
) -> list[Sample]:
    """The annotated images of one split; what is skipped or unknown is added to ``problems``."""
    for category, count in instances.unknown_categories:
        problems.append(Problem("unknown label", str(file), f"category id {category}, {count} annotations"))
    unknown_images = instances.annotated.keys() - instances.images.keys()
    if unknown_images:
        problems.append(Problem("annotation of an unknown image", str(file), f"{len(unknown_images)} image ids"))
    annotated = [number for number in instances.images if number in instances.annotated]
    images = len(instances.images)
    if len(annotated) < images:
        skipped = f"{images - len(annotated)} of {images} are skipped"
        problems.append(Problem("images without annotation", str(file), skipped))
    if not annotated:
        return []
    folder = _image_folder(file, instances.images[annotated[0]])
    samples = []
    for number in annotated:
        annotations = instances.annotated[number]
        labels = tuple(sorted({label_of[category] for category in annotations.categories}))
        samples.append(Sample(folder / instances.images[number], labels, split, to_boxes(annotations, label_of)))
    return samples


def read(path: Path, options: ReadOptions) -> TaggedImages:
    """Classes in the order of their category ids; splits as the files say, none where there is one file."""
    files = _one_year(path)
    loaded = {split: load_instances(files[split]) for split in (*SPLITS, UNSPLIT) if split in files}
    categories: dict[str, Category] = {}
    used: set[str] = set()
    for split, instances in loaded.items():
        if categories and instances.categories != categories:
            raise UsageError(f"{files[split]}: its categories differ from those of the other split's file")
        categories = instances.categories
        for annotated in instances.annotated.values():
            used |= annotated.categories
    notes: list[str] = []
    problems: list[Problem] = []
    classes, label_of = _labels(_without_root(categories, used, notes), notes)
    samples: list[Sample] = []
    for split, instances in loaded.items():
        official = split
        if len(loaded) == 1:
            official = split_alone(split or split_of_name(files[split]), len(instances.annotated))
        samples += _samples(files[split], instances, official, label_of, problems)
    if not samples:
        counts = sum(len(instances.images) for instances in loaded.values())
        raise UsageError(f"{path}: none of {counted(counts, 'image')} has an annotation of one of the categories")
    root = _root(next(iter(files.values())))
    name = root.name
    if path.is_dir():
        name = path.name
    return TaggedImages(name, path, "coco", classes, tuple(samples), tuple(problems), notes=tuple(notes))


def _one_year(path: Path) -> dict[str, Path]:
    files, *other_years = _files(path).values()
    if other_years:
        every_file: list[Path] = []
        for splits in _files(path).values():
            every_file += splits.values()
        shown = ", ".join(map(str, every_file))
        raise UsageError(f"{path} holds several years of COCO; point --data at one file of the year you mean: {shown}")
    return files


def _detect(path: Path) -> bool:
    return bool(_files(path))


LAYOUTS.register("coco")(
    Layout(
        "annotations/instances_{train,val}{2014,2017}.json next to the folders train2014, ...; or one such file, of "
        "any name; or {train,valid,test}/_annotations.coco.json",
        _detect,
        read,
    )
)
