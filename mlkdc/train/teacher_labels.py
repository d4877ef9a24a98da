"""Which labels a teacher's outputs are: as many in another order would teach nonsense."""

import zipfile
from pathlib import Path

from safetensors import safe_open

from mlkdc.data.text import clean_label
from mlkdc.errors import UsageError
from mlkdc.figures import first_few
from mlkdc.recipe import Teacher
from mlkdc.records.run import CLASSES_FILE
from mlkdc.types import TaggedImages

SHOWN_LABELS = 4


def labels_of_file(path: Path, spec: Teacher, data: TaggedImages) -> tuple[str, ...]:
    """The labels of a weights file in the order of its outputs: as the user says, else as it or its folder says.

    Raises:
        UsageError: nobody says; a file of as many labels in another order would teach nonsense.
    """
    if spec.classes == "data":
        return data.classes
    if spec.classes is not None:
        return tuple(_lines(Path(spec.classes).expanduser()))
    labels = recorded_labels(path)
    if labels is not None:
        return labels
    beside = path.with_name(CLASSES_FILE)
    if beside.is_file():
        return tuple(_lines(beside))
    order = first_few(data.classes, SHOWN_LABELS)
    raise UsageError(
        f"the teacher file {path} does not say which labels its outputs are: put a {CLASSES_FILE} next to it (one "
        "label a line, in the order of its outputs), name such a file with `--set teacher.classes=FILE`, or say with "
        f"`--set teacher.classes=data` that they are those of the data in the same order ({order})"
    )


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}, expected to list the teacher's labels, cannot be read ({error})") from None
    return [clean_label(line) for line in text.split("\n") if line.strip()]


def recorded_labels(path: Path) -> tuple[str, ...] | None:
    """The labels in the header of a weights file that mlkdc wrote; None for other files."""
    # Under that suffix, there can be a torch checkpoint, which is read all the same.
    if path.suffix != ".safetensors" or zipfile.is_zipfile(path):
        return None
    with safe_open(path, "pt") as file:
        metadata: dict[str, str] = file.metadata() or {}
    names = metadata.get("classes")
    if names is None:
        return None
    return tuple(names.split("\n"))


def check_teacher_labels(labels: tuple[str, ...], data: TaggedImages, what: str) -> None:
    """Raise UsageError unless a teacher has the data's labels in the data's order; ``what`` names the teacher."""
    if labels == data.classes:
        return
    if sorted(labels) == sorted(data.classes):
        order = first_few(labels, SHOWN_LABELS)
        raise UsageError(
            f"{what} has the data's {len(labels)} labels in another order ({order}): give the data this order (a "
            f"{CLASSES_FILE} next to it, where its layout reads one), or fine-tune a teacher on this data: "
            "`--teacher MODEL`"
        )
    unknown = sorted(set(data.classes) - set(labels))
    difference = f", among them not {unknown[0]!r}" if unknown else ""
    raise UsageError(
        f"{what} has {len(labels)} labels{difference}; the data has {len(data.classes)}. "
        "Fine-tune a teacher on this data: `--teacher MODEL`"
    )
