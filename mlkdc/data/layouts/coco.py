"""MS-COCO instances JSON (Lin et al., 2014).

Images without any annotation are skipped and counted in a problem, as in the published multi-label results:
82,081 of 82,783 train2014 and 40,137 of 40,504 val2014 images. Crowd annotations count.
"""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlkdc.data.layouts import LAYOUTS, Layout, labels_of, read_text
from mlkdc.errors import UsageError
from mlkdc.types import SPLITS, Box, Problem, Sample, TaggedImages

_INSTANCES = re.compile(r"instances_(train|val|test)(\d{4})?\.json")
_LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True, slots=True)
class _Image:
    number: int
    file: Path


@dataclass(frozen=True, slots=True)
class _Instances:
    """The content of one file.

    Args:
        categories: names by id, sorted by id.
        images: in the order of the file.
        boxes: by image number.
        unknown_categories: (category id, number of annotations) of the ids that are not among the categories.
    """

    categories: dict[int, str]
    images: list[_Image]
    boxes: dict[int, list[Box]]
    unknown_categories: list[tuple[int, int]]


def _files(path: Path) -> dict[str, dict[str, Path]]:
    """Instances files by year and split; a file stands for its year."""
    if path.is_file():
        named = _INSTANCES.fullmatch(path.name)
        if not named:
            return {}
        year = named[2] or ""
        return {year: _files_in([path.parent])[year]}
    return _files_in([path / "annotations", path])


def _files_in(folders: list[Path]) -> dict[str, dict[str, Path]]:
    years: dict[str, dict[str, Path]] = defaultdict(dict)
    for folder in folders:
        if not folder.is_dir():
            continue
        for file in sorted(folder.iterdir()):
            named = _INSTANCES.fullmatch(file.name)
            if named:
                years[named[2] or ""].setdefault(named[1], file)
    return years


def _load(file: Path) -> _Instances:
    try:
        content = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise UsageError(f"{file}: not well-formed JSON ({error})") from None
    missing = list(_LISTS)
    if isinstance(content, dict):
        missing = [key for key in _LISTS if not isinstance(content.get(key), list)]
    if missing:
        raise UsageError(f"{file}: expected COCO's lists {', '.join(_LISTS)}; missing: {', '.join(missing)}")
    try:
        return _parse(content)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{file}: an entry is not as in COCO's instances files ({error!r})") from None


def _parse(content: dict[str, Any]) -> _Instances:
    """The only code that knows COCO's keys."""
    names = {item["id"]: item["name"] for item in content["categories"]}
    categories = dict(sorted(names.items()))
    label_of = {category: label for label, category in enumerate(categories)}
    images = [_Image(item["id"], Path(item["file_name"])) for item in content["images"]]
    boxes: dict[int, list[Box]] = defaultdict(list)
    unknown: Counter[int] = Counter()
    for item in content["annotations"]:
        category = item["category_id"]
        # Such an annotation is reported and otherwise ignored, whatever else is in it.
        if category not in categories:
            unknown[category] += 1
            continue
        left, top, width, height = map(float, item["bbox"])
        boxes[item["image_id"]].append(Box(label_of[category], left, top, left + width, top + height))
    return _Instances(categories, images, boxes, sorted(unknown.items()))


def _root(file: Path) -> Path:
    if file.parent.name == "annotations":
        return file.parent.parent
    return file.parent


def _image_folder(file: Path, image: Path) -> Path:
    """The folder that holds an image; COCO's folder for the split when none does."""
    root = _root(file)
    split_folder = file.stem.removeprefix("instances_")
    folders = (root / split_folder, root / "images" / split_folder, root / "images", root)
    for folder in folders:
        if (folder / image).is_file():
            return folder
    return folders[0]


def _samples(file: Path, instances: _Instances, split: str, problems: list[Problem]) -> list[Sample]:
    """The annotated images of one split; what is skipped or unknown is added to ``problems``."""
    for category, count in instances.unknown_categories:
        problems.append(Problem("unknown label", str(file), f"category id {category}, {count} annotations"))
    annotated, numbers = [], set()
    for image in instances.images:
        numbers.add(image.number)
        if image.number in instances.boxes:
            annotated.append(image)
    unknown_images = instances.boxes.keys() - numbers
    if unknown_images:
        problems.append(Problem("annotation of an unknown image", str(file), f"{len(unknown_images)} image ids"))
    images = len(instances.images)
    if len(annotated) < images:
        skipped = f"{images - len(annotated)} of {images} are skipped"
        problems.append(Problem("images without annotation", str(file), skipped))
    if not annotated:
        return []
    folder = _image_folder(file, annotated[0].file)
    samples = []
    for image in annotated:
        boxes = tuple(instances.boxes[image.number])
        samples.append(Sample(folder / image.file, labels_of(boxes), split, boxes))
    return samples


def read(path: Path) -> TaggedImages:
    """Classes in the order of their category ids; train and val as the files say."""
    years = _files(path)
    files, *other_years = years.values()
    if other_years:
        every_file: list[Path] = []
        for splits in years.values():
            every_file += splits.values()
        shown = ", ".join(map(str, every_file))
        raise UsageError(f"{path} holds several years of COCO; point --data at one file of the year you mean: {shown}")
    problems: list[Problem] = []
    samples: list[Sample] = []
    categories: dict[int, str] = {}
    for split in SPLITS:
        if split not in files:
            continue
        instances = _load(files[split])
        if categories and instances.categories != categories:
            raise UsageError(f"{files[split]}: its categories differ from those of the other split's file")
        categories = instances.categories
        samples += _samples(files[split], instances, split, problems)
    name = _root(next(iter(files.values()))).name
    return TaggedImages(name, path, "coco", tuple(categories.values()), tuple(samples), tuple(problems))


def _detect(path: Path) -> bool:
    return bool(_files(path))


LAYOUTS.register("coco")(
    Layout(
        "annotations/instances_{train,val}{2014,2017}.json next to the folders train2014, ...; or one such file",
        _detect,
        read,
    )
)
