"""The content of a COCO JSON file, as cocotools, CVAT, Roboflow, Label Studio and pandas write it.

The only code that knows COCO's keys. Ids may be integers, integral floats, or strings of them: 1, 1.0 and "1" are one.
"""

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from mlkdc.data.layouts import read_text
from mlkdc.data.text import clean_label
from mlkdc.errors import UsageError
from mlkdc.types import Box

_LISTS = ("images", "annotations", "categories")
#: Of a box: left, top, width, height.
_BOX_NUMBERS = 4


@dataclass(frozen=True, slots=True)
class Category:
    """A category's name and that of the one above it, which may be empty."""

    name: str
    above: str


@dataclass(frozen=True, slots=True)
class Annotated:
    """An image's categories by id, and boxes with their category's id; not every annotation has a box."""

    categories: set[str]
    boxes: list[tuple[str, tuple[float, float, float, float]]]


@dataclass(frozen=True, slots=True)
class Instances:
    """The content of one file.

    Args:
        categories: by id, sorted by id.
        images: file by id, in the order of the file.
        annotated: by image id.
        unknown_categories: (category id, number of annotations) of the ids that are not among the categories.
    """

    categories: dict[str, Category]
    images: dict[str, Path]
    annotated: dict[str, Annotated]
    unknown_categories: list[tuple[str, int]]


def load_instances(file: Path) -> Instances:
    """Read a file.

    Raises:
        UsageError: not COCO's JSON, an id given twice, or an entry without what it must have.
    """
    try:
        content = json.loads(read_text(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"{file}: not well-formed JSON ({error})") from None
    missing = list(_LISTS)
    if isinstance(content, dict):
        missing = [key for key in _LISTS if not isinstance(content.get(key), list)]
    if missing:
        raise UsageError(f"{file}: expected COCO's lists {', '.join(_LISTS)}; missing: {', '.join(missing)}")
    lists = {key: _Entries(file, key, content[key]) for key in _LISTS}
    categories = _categories(lists["categories"])
    images = _images(lists["images"])
    annotated, unknown = _annotations(lists["annotations"], categories)
    return Instances(categories, images, annotated, sorted(unknown.items(), key=lambda item: _order(item[0])))


class _Entries:
    """The entries of one of the lists, whose faults name the file and the entry."""

    def __init__(self, file: Path, key: str, items: list[object]) -> None:
        self.file = file
        self.key = key
        self.items: list[dict[str, object]] = []
        for at, item in enumerate(items):
            if not isinstance(item, dict):
                raise self.fault(at, f"expected an object, got {item!r}")
            self.items.append(item)

    def fault(self, at: int, text: str) -> UsageError:
        return UsageError(f"{self.file}: {self.key}[{at}]: {text[:300]}")

    def id_at(self, at: int, name: str) -> str:
        """An id as text, the same for 1, 1.0 and "1"."""
        value = self.items[at].get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
            raise self.fault(at, f"expected a number or a string under {name!r}, got {value!r}")
        text = str(value).strip()
        return text.removesuffix(".0") if text.removesuffix(".0").isdecimal() else text

    def text_at(self, at: int, name: str) -> str:
        """A name as text on one line."""
        value = self.items[at].get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float, str)) or not str(value).strip():
            raise self.fault(at, f"expected a name under {name!r}, got {value!r}")
        return clean_label(str(value))


def _order(number: str) -> tuple[int, int, str]:
    """Numbers by value, then words."""
    if number.isdecimal():
        # Python reads no number of thousands of digits.
        digits = number.lstrip("0")
        return (0, len(digits), digits)
    return (1, 0, number)


def _categories(entries: _Entries) -> dict[str, Category]:
    categories: dict[str, Category] = {}
    for at, item in enumerate(entries.items):
        number = entries.id_at(at, "id")
        above = item.get("supercategory")
        category = Category(entries.text_at(at, "name"), clean_label(above) if isinstance(above, str) else "")
        if number in categories and categories[number].name != category.name:
            names = f"{categories[number].name!r} and {category.name!r}"
            raise entries.fault(at, f"category id {number} stands for {names}; give each category its own id")
        categories.setdefault(number, category)
    return dict(sorted(categories.items(), key=lambda pair: _order(pair[0])))


def _images(entries: _Entries) -> dict[str, Path]:
    images: dict[str, Path] = {}
    for at, item in enumerate(entries.items):
        number = entries.id_at(at, "id")
        name = item.get("file_name")
        if not isinstance(name, str) or not name:
            raise entries.fault(at, f"expected a path under 'file_name', got {name!r}")
        # Label Studio and others write paths as Windows does.
        file = Path(name.replace("\\", "/"))
        if images.get(number, file) != file:
            raise entries.fault(
                at, f"image id {number} stands for {images[number]} and {file} (two files merged?); number them anew"
            )
        images[number] = file
    return images


def _annotations(entries: _Entries, categories: dict[str, Category]) -> tuple[dict[str, Annotated], Counter[str]]:
    annotated: dict[str, Annotated] = defaultdict(lambda: Annotated(set(), []))
    unknown: Counter[str] = Counter()
    for at in range(len(entries.items)):
        category = entries.id_at(at, "category_id")
        # Such an annotation is reported and otherwise ignored, whatever else is in it.
        if category not in categories:
            unknown[category] += 1
            continue
        image = annotated[entries.id_at(at, "image_id")]
        image.categories.add(category)
        box = _box(entries, at)
        if box is not None:
            image.boxes.append((category, box))
    return dict(annotated), unknown


def _box(entries: _Entries, at: int) -> tuple[float, float, float, float] | None:
    """Left, top, right, bottom; None where an annotation is a tag of the image."""
    value = entries.items[at].get("bbox")
    if not value:
        return None
    numbers = []
    if isinstance(value, list):
        numbers = [number for number in value if isinstance(number, (int, float)) and math.isfinite(number)]
    if len(numbers) != _BOX_NUMBERS or numbers != value:
        raise entries.fault(at, f"expected [left, top, width, height] under 'bbox', got {value!r}")
    left, top, width, height = map(float, numbers)
    return left, top, left + width, top + height


def to_boxes(annotated: Annotated, label_of: dict[str, int]) -> tuple[Box, ...]:
    """An image's boxes with their labels."""
    return tuple(Box(label_of[category], *box) for category, box in annotated.boxes if category in label_of)
