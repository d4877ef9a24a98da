"""MS-COCO instances JSON (Lin et al., 2014).

Images without any annotation are left out and counted in a problem, as in the published multi-label figures:
82,081 of 82,783 train2014 and 40,137 of 40,504 val2014 images. Crowd annotations count.
"""

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from mlkdc.data.layouts import LAYOUTS, Layout, read_text
from mlkdc.errors import UsageError
from mlkdc.types import SPLITS, Box, Problem, Sample, TaggedImages

_INSTANCES = re.compile(r"instances_(train|val|test)(\d{4})?\.json")


def _files(path: Path) -> dict[str, dict[str, Path]]:
    """Instances files by year and split; a file stands for its year."""
    folders = [path.parent] if path.is_file() else [path / "annotations", path]
    years: dict[str, dict[str, Path]] = defaultdict(dict)
    for folder in folders:
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if named := _INSTANCES.fullmatch(file.name):
                years[named[2] or ""].setdefault(named[1], file)
    if path.is_file():
        named = _INSTANCES.fullmatch(path.name)
        return {named[2] or "": years[named[2] or ""]} if named else {}
    return years


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise UsageError(f"{file}: not well-formed JSON ({error})") from None
    lists = ("images", "annotations", "categories")
    lacking = [key for key in lists if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if lacking:
        raise UsageError(f"{file}: expected COCO's lists {', '.join(lists)}; lacking: {', '.join(lacking)}")
    return content


def _root(file: Path) -> Path:
    return file.parent.parent if file.parent.name == "annotations" else file.parent


def _image_folder(file: Path, names: list[str]) -> Path:
    """The folder that holds the first image; COCO's own name for it when none does."""
    root = _root(file)
    own = file.stem.removeprefix("instances_")
    candidates = (root / own, root / "images" / own, root / "images", root)
    return next((folder for folder in candidates if (folder / names[0]).is_file()), candidates[0])


def _boxes(content: dict[str, Any], number: dict[int, int]) -> tuple[dict[int, list[Box]], Counter[int]]:
    """Boxes by image id, and how often each unknown category id occurs."""
    boxes: dict[int, list[Box]] = defaultdict(list)
    unknown: Counter[int] = Counter()
    for item in content["annotations"]:
        if item["category_id"] in number:
            left, top, width, height = item["bbox"]
            boxes[item["image_id"]].append(Box(number[item["category_id"]], left, top, left + width, top + height))
        else:
            unknown[item["category_id"]] += 1
    return boxes, unknown


def _samples(
    file: Path, content: dict[str, Any], split: str, number: dict[int, int], problems: list[Problem]
) -> list[Sample]:
    boxes, unknown = _boxes(content, number)
    for category, count in sorted(unknown.items()):
        problems.append(Problem("unknown label", str(file), f"category id {category}, {count} annotations"))
    strangers = boxes.keys() - {image["id"] for image in content["images"]}
    if strangers:
        problems.append(Problem("annotation of an unknown image", str(file), f"{len(strangers)} image ids"))
    images = [image for image in content["images"] if image["id"] in boxes]
    if len(images) < len(content["images"]):
        left_out = f"{len(content['images']) - len(images)} of {len(content['images'])} are left out"
        problems.append(Problem("images without annotation", str(file), left_out))
    if not images:
        return []
    folder = _image_folder(file, [image["file_name"] for image in images])
    samples = []
    for image in images:
        found = tuple(boxes[image["id"]])
        labels = tuple(sorted({box.label for box in found}))
        samples.append(Sample(folder / image["file_name"], labels, split, found))
    return samples


def read(path: Path) -> TaggedImages:
    """Classes in the order of their category ids; train and val as the files say."""
    years = _files(path)
    if len(years) > 1:
        shown = ", ".join(str(file) for files in years.values() for file in files.values())
        raise UsageError(f"{path} holds several years of COCO; point --data at one file of the year you mean: {shown}")
    files = next(iter(years.values()))
    problems: list[Problem] = []
    samples: list[Sample] = []
    categories: dict[int, str] = {}
    for split in (split for split in SPLITS if split in files):
        file = files[split]
        content = _load(file)
        try:
            here = {item["id"]: item["name"] for item in content["categories"]}
            if categories and here != categories:
                raise UsageError(f"{file}: its categories differ from those of the other split's file")
            categories = here
            number = {category: at for at, category in enumerate(sorted(categories))}
            samples += _samples(file, content, split, number, problems)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{file}: an entry is not as in COCO's instances files ({error!r})") from None
    classes = tuple(categories[category] for category in sorted(categories))
    return TaggedImages(_root(next(iter(files.values()))).name, path, "coco", classes, tuple(samples), tuple(problems))


LAYOUTS.register("coco")(
    Layout(
        "annotations/instances_{train,val}{2014,2017}.json beside the folders train2014, ...; or one such file",
        lambda path: bool(_files(path)),
        read,
    )
)
