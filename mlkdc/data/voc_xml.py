"""The annotation of one image as Pascal VOC, labelImg, CVAT and Roboflow write it."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from mlkdc.data.text import WINDOWS, clean_label, read_any, read_bytes
from mlkdc.errors import UsageError

#: Left, top, right, bottom.
Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Annotation:
    """The objects of one image.

    Args:
        names: of all objects, each once, in the order of the file.
        boxes: name and corners of those that have a box; VOC counts pixels from 1 and includes the last one, here they
            count from 0 and the end is exclusive.
    """

    names: tuple[str, ...]
    boxes: tuple[tuple[str, Corners], ...]


def read_annotation(file: Path) -> Annotation:
    """Read one file.

    Raises:
        UsageError: not XML, or an object has no name or half a box.
    """
    boxes = []
    names: dict[str, None] = {}
    for item in read_xml(file).findall("object"):
        name = clean_label(item.findtext("name", ""))
        if not name:
            raise UsageError(f"{file}: an object has no name")
        names[name] = None
        if item.find("bndbox") is None:
            continue
        left, top = _number(item, "xmin", file), _number(item, "ymin", file)
        right, bottom = _number(item, "xmax", file), _number(item, "ymax", file)
        boxes.append((name, (left - 1, top - 1, right, bottom)))
    return Annotation(tuple(names), tuple(boxes))


def read_xml(file: Path) -> ET.Element:
    """The root of an XML file, whose names are without the namespaces that some programs write.

    Raises:
        UsageError: it cannot be read, or is not XML.
    """
    content = read_bytes(file)
    try:
        return _plain(ET.fromstring(content))
    except ET.ParseError as error:
        fault = UsageError(f"{file}: not well-formed XML ({error}); fix or delete it")
    # A file that does not say its encoding is UTF-8, and some programs write Windows' code page all the same.
    text = read_any(file)
    if text.encoding != WINDOWS:
        raise fault
    try:
        return _plain(ET.fromstring(text.content))
    except (ET.ParseError, ValueError):
        raise fault from None


def _plain(root: ET.Element) -> ET.Element:
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    return root


def _number(element: ET.Element, name: str, file: Path) -> float:
    try:
        return float(element.findtext(f"bndbox/{name}", ""))
    except ValueError:
        raise UsageError(f"{file}: an object has no number bndbox/{name}") from None
