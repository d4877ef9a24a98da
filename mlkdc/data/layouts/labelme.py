"""labelme's JSON (also of X-AnyLabeling): a file for each image, with flags of the image and labels of its shapes."""

import json
from pathlib import Path

from mlkdc.data.files import entries, folders_in
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, ReadOptions, read_text
from mlkdc.data.splits import split_of_name
from mlkdc.data.text import clean_label, read_head
from mlkdc.errors import UsageError
from mlkdc.types import Sample, TaggedImages

#: In a file's head; its last key, the image itself, can be long.
_KEYS = ('"version"', '"flags"', '"shapes"', '"imagePath"')
#: Of a folder, looked at to find one of labelme's.
_SEEN = 20


def _files_in(folder: Path) -> list[Path]:
    files = [file for file in entries(folder) if file.suffix.lower() == ".json"]
    if not any(map(_is_labelme, files[:_SEEN])):
        return []
    return [file for file in files if _is_labelme(file)]


def _is_labelme(file: Path) -> bool:
    head = read_head(file)
    return head.lstrip().startswith("{") and '"shapes"' in head and sum(key in head for key in _KEYS) > 2


def _parts(path: Path) -> list[tuple[list[Path], str]]:
    """The files by split: of the folders train, val, test, else of the folder or of one in it."""
    parts = []
    for folder in folders_in(path):
        split = split_of_name(folder)
        if split is not None:
            parts.append((_files_in(folder), split))
    parts = [part for part in parts if part[0]]
    if len(parts) > 1:
        return parts
    for folder in (path, *folders_in(path)):
        files = _files_in(folder)
        if files:
            return [(files, UNSPLIT)]
    return []


def _labels(file: Path, content: dict[str, object]) -> set[str]:
    """The flags that are set, and the labels of the shapes with the flags that are set there."""
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise UsageError(f"{file}: expected labelme's list 'shapes', got {str(shapes)[:80]}")
    names = _set_flags(content)
    for shape in shapes:
        label = shape.get("label") if isinstance(shape, dict) else None
        if not isinstance(label, str) or not clean_label(label):
            raise UsageError(f"{file}: expected shapes with a 'label', got {str(shape)[:80]}")
        names.add(label)
    return set(map(clean_label, names)) - {""}


def _set_flags(item: dict[str, object]) -> set[str]:
    flags = item.get("flags")
    if not isinstance(flags, dict):
        return set()
    return {name for name, value in flags.items() if value is True}


def _content(file: Path) -> dict[str, object]:
    try:
        content = json.loads(read_text(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"{file}: not well-formed JSON ({error})") from None
    if not isinstance(content, dict):
        raise UsageError(f"{file}: expected labelme's object, got {str(content)[:80]}")
    return content


def _image(file: Path, content: dict[str, object]) -> Path:
    """Where the image is, relative to the file as a rule."""
    path = content.get("imagePath")
    if not isinstance(path, str) or not path:
        raise UsageError(f"{file}: expected the path of the image under 'imagePath', got {path!r}")
    return file.parent / path.replace("\\", "/")


def read(path: Path, options: ReadOptions) -> TaggedImages:
    """Classes sorted, with flags that are set nowhere; an image without flags and shapes has no label."""
    found = []
    classes: set[str] = set()
    for files, split in _parts(path):
        for file in files:
            content = _content(file)
            names = _labels(file, content)
            flags = content.get("flags")
            if isinstance(flags, dict):
                classes |= {clean_label(name) for name in flags} - {""}
            classes |= names
            found.append((_image(file, content), names, split))
    ordered = tuple(sorted(classes))
    number = {name: label for label, name in enumerate(ordered)}
    samples = []
    for image, names, split in found:
        samples.append(Sample(image, tuple(sorted(number[name] for name in names)), split))
    return TaggedImages(path.name, path, "labelme", ordered, tuple(samples))


def _detect(path: Path) -> bool:
    return bool(_parts(path))


LAYOUTS.register("labelme")(
    Layout("labelme's JSON files, one for each image, next to the images or in a folder of their own", _detect, read)
)
