"""Label Studio's own JSON: a list of tasks (export "JSON"), or of records (export "JSON-MIN").

Labels are the choices, the labels of regions and every level of a taxonomy. Where several people annotated a task, the
first annotation counts.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from mlkdc.data.files import entries
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, ReadOptions, read_text
from mlkdc.data.text import clean_label, read_head
from mlkdc.errors import UsageError
from mlkdc.images import image_suffixes
from mlkdc.types import Problem, Sample, TaggedImages

#: Keys under which labels are, in results and in records.
_LABELS = (
    "choices", "choice", "labels", "label", "rectanglelabels", "polygonlabels", "brushlabels", "ellipselabels",
    "keypointlabels", "tag", "tags", "taxonomy",
)  # fmt: skip
#: Other keys of a record that are no control of the labeling interface.
_OF_RECORD = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time")
MOST_FILES = 50
#: Keys of such files, by which they are told from other lists.
HINTS = ('"annotations"', '"completions"', '"choice"', '"lead_time"', '"annotation_id"')


def _file(path: Path) -> Path | None:
    if path.is_file():
        return path if _is_export(path) else None
    candidates = [file for file in entries(path) if file.suffix.lower() == ".json"]
    if len(candidates) > MOST_FILES:
        return None
    files = [file for file in candidates if _is_export(file)]
    return files[0] if len(files) == 1 else None


def _is_export(file: Path) -> bool:
    if file.suffix.lower() != ".json" or not os.path.isfile(file):
        return False
    head = read_head(file)
    return head.lstrip().startswith("[") and any(hint in head for hint in HINTS)


def _tasks(file: Path) -> list[dict[str, object]]:
    try:
        content = json.loads(read_text(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"{file}: not well-formed JSON ({error})") from None
    tasks = []
    for at, task in enumerate(content):
        if not isinstance(task, dict):
            raise UsageError(f"{file}: entry {at}: expected an object, got {str(task)[:80]!r}")
        tasks.append(task)
    return tasks


def _image(file: Path, at: int, task: dict[str, object]) -> str:
    """The image's path: of uploads, of local files (``?d=path``), or as it is."""
    data = task.get("data", task)
    for value in data.values() if isinstance(data, dict) else ():
        name = _image_name(value)
        if name is not None:
            return name
    raise UsageError(f"{file}: entry {at}: expected the path of an image, as under data.image; got {str(data)[:120]}")


def _image_name(value: object) -> str | None:
    """None where the value is no path of an image."""
    if not isinstance(value, str):
        return None
    name = unquote(value.partition("?d=")[2] or value)
    return name if Path(name.replace("\\", "/")).suffix.lower() in image_suffixes() else None


def _annotation(task: dict[str, object]) -> object:
    """What holds the labels of a task; None where nobody annotated it."""
    if "data" not in task:
        return task
    annotations = task.get("annotations", task.get("completions"))
    for annotation in annotations if isinstance(annotations, list) else ():
        if isinstance(annotation, dict) and not annotation.get("was_cancelled"):
            return annotation.get("result")
    return None


def _names(value: object, below: bool = False) -> Iterator[str]:
    """The texts and numbers under keys of labels, at any depth."""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool) and below:
        yield clean_label(str(value))
    elif isinstance(value, list):
        for item in value:
            yield from _names(item, below)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _names(item, key.lower() in _LABELS)


def _unused(tasks: list[dict[str, object]]) -> list[str]:
    """Keys of records with a text that may be a label: a record has a single choice under its control's own name."""
    keys: dict[str, None] = {}
    for task in tasks:
        for key, value in task.items() if "data" not in task else ():
            known = key in _OF_RECORD or key.lower() in _LABELS or _image_name(value) is not None
            if isinstance(value, str) and not known:
                keys[key] = None
    return list(keys)


def read(path: Path, options: ReadOptions) -> TaggedImages:
    """The annotated tasks, labels sorted; the others are skipped and counted in a problem."""
    file = _file(path)
    assert file is not None, "detect() comes first"
    tasks = _tasks(file)
    found = []
    for at, task in enumerate(tasks):
        annotation = _annotation(task)
        if annotation is not None:
            found.append((_image(file, at, task), set(_names(annotation)) - {""}))
    classes = tuple(sorted(set().union(*(names for _, names in found))))
    number = {name: label for label, name in enumerate(classes)}
    problems = []
    if len(found) < len(tasks):
        skipped = f"{len(tasks) - len(found)} of {len(tasks)} are skipped"
        problems.append(Problem("tasks without annotation", str(file), skipped))
    for key in _unused(tasks):
        detail = "not read; if these are labels, name that control 'choice' or export as JSON"
        problems.append(Problem("texts that may be labels", f"{key} in {file}", detail))
    samples = []
    for image, names in found:
        samples.append(Sample(file.parent / image.lstrip("/"), tuple(sorted(number[name] for name in names)), UNSPLIT))
    return TaggedImages(file.parent.name, path, "labelstudio", classes, tuple(samples), tuple(problems))


def _detect(path: Path) -> bool:
    return _file(path) is not None


LAYOUTS.register("labelstudio")(
    Layout(
        "Label Studio's JSON or JSON-MIN export, or a folder with one; its COCO and CSV exports are read too",
        _detect,
        read,
    )
)
