"""Pascal VOC, the devkit's layout (Everingham et al., 2010).

Labels come from the objects of Annotations/*.xml. An object marked "difficult" counts: the thing is in the image,
and the released code of the multi-label distillation papers (L2D) reads it so. The challenge's evaluation instead skips
a (class, image) pair of which all objects are difficult; its results are not comparable to the last digit.
"""

import xml.etree.ElementTree as ET
from pathlib import Path

from mlkdc.data.layouts import LAYOUTS, Layout, labels_of, read_lines
from mlkdc.errors import UsageError
from mlkdc.types import SPLITS, Box, Problem, Sample, TaggedImages

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_NUMBER = {name: label for label, name in enumerate(CLASSES)}


def _years(path: Path) -> list[Path]:
    """The VOC20xx folders that ``path`` is or holds."""
    if not path.is_dir():
        return []
    years = []
    for folder in (path, *sorted(path.glob("VOC*")), *sorted(path.glob("VOCdevkit/VOC*"))):
        if (folder / "ImageSets/Main").is_dir() and (folder / "Annotations").is_dir():
            years.append(folder)
    return years


def _number(element: ET.Element, name: str, file: Path) -> float:
    try:
        return float(element.findtext(f"bndbox/{name}", ""))
    except ValueError:
        raise UsageError(f"{file}: an object has no number bndbox/{name}") from None


def _objects(file: Path, problems: list[Problem]) -> tuple[Box, ...]:
    """The file's boxes; VOC counts pixels from 1 and includes the last one."""
    try:
        root = ET.parse(file).getroot()
    except ET.ParseError as error:
        raise UsageError(f"{file}: not well-formed XML ({error})") from None
    boxes = []
    for item in root.findall("object"):
        name = item.findtext("name", "").strip()
        if name not in _NUMBER:
            problems.append(Problem("unknown label", str(file), f"{name!r} is not one of VOC's 20 classes"))
            continue
        left, top = _number(item, "xmin", file), _number(item, "ymin", file)
        right, bottom = _number(item, "xmax", file), _number(item, "ymax", file)
        boxes.append(Box(_NUMBER[name], left - 1, top - 1, right, bottom))
    return tuple(boxes)


def _samples(folder: Path, split: str, problems: list[Problem]) -> list[Sample]:
    """The images of one split that have annotations; what is skipped is added to ``problems``."""
    listed = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not listed.is_file():
        return []
    missing, annotated = [], []
    for line in read_lines(listed):
        name = line.split()[0]
        file = folder / "Annotations" / f"{name}.xml"
        if file.is_file():
            annotated.append((name, file))
        else:
            missing.append(file)
    if missing and not annotated:
        # VOC2012's test annotations were never published.
        problems.append(Problem("split without annotations", str(listed), f"{len(missing)} images are skipped"))
        return []
    for file in missing:
        problems.append(Problem("missing file", str(file), "its image is skipped"))
    samples = []
    for name, file in annotated:
        boxes = _objects(file, problems)
        samples.append(Sample(folder / "JPEGImages" / f"{name}.jpg", labels_of(boxes), split, boxes))
    return samples


def read(path: Path) -> TaggedImages:
    """The official train, val and test lists, as far as they exist."""
    years = _years(path)
    if len(years) > 1:
        shown = ", ".join(map(str, years))
        raise UsageError(f"{path} holds several VOC data sets; point --data at one of {shown}")
    folder = years[0]
    problems: list[Problem] = []
    samples = []
    for split in SPLITS:
        samples += _samples(folder, split, problems)
    if not samples:
        raise UsageError(
            f"{folder / 'ImageSets' / 'Main'}: expected train.txt, val.txt or test.txt with annotated images"
        )
    return TaggedImages(folder.name, path, "voc", CLASSES, tuple(samples), tuple(problems))


def _detect(path: Path) -> bool:
    return bool(_years(path))


LAYOUTS.register("voc")(
    Layout(
        "VOCdevkit or its VOC2007 or VOC2012: ImageSets/Main/{train,val,test}.txt, Annotations/*.xml, JPEGImages/*.jpg",
        _detect,
        read,
    )
)
