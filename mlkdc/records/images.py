"""images.jsonl: which images a run was trained, tuned and scored on, as its data was when it began."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError
from typing_extensions import Self

from mlkdc.errors import UsageError
from mlkdc.records.base import Record, faults
from mlkdc.resources import write_text


class ListedImage(Record):
    """One image of a run.

    Args:
        name: its path relative to the data's folder, with / between folders.
        split: that it was in.
        labels: numbers of the run's classes, ascending.
        size_bytes: of the file; None where it does not identify the image.
        content: digest of the file's bytes; None where it does not identify the image, and in a list of format 1.
    """

    name: str
    split: str
    labels: tuple[int, ...]
    size_bytes: int | None
    content: str | None = None


class ImageList(Record):
    """All images of a run in the order in which they were read, one a line after a first line about all of them.

    Args:
        folder: where the data was.
        split_from: ``official``, or a sentence saying how the split was made.
        skipped: names of unreadable images that were left out on request.
        images: all others.
    """

    FILE: ClassVar[str] = "images.jsonl"
    FORMAT: ClassVar[int] = 2

    folder: str
    split_from: str
    skipped: tuple[str, ...] = ()
    images: tuple[ListedImage, ...]

    def save(self, run: Path) -> None:
        """Write the file into a run folder, completely or not at all.

        Raises:
            MlkdcError: the disk is full or not writable.
        """
        head = {"format": self.FORMAT, **self.model_dump(mode="json", exclude={"images"})}
        lines = [json.dumps(head)]
        for image in self.images:
            lines.append(json.dumps([image.name, image.split, image.labels, image.size_bytes, image.content]))
        write_text(run / self.FILE, "\n".join(lines) + "\n")

    @classmethod
    def load(cls, run: Path) -> Self | None:
        """Read the file of a run folder; None where there is none, as in those of earlier versions.

        Raises:
            UsageError: it is damaged or of another format.
        """
        path = run / cls.FILE
        if not path.is_file():
            return None
        try:
            # Not splitlines: a name may hold what that takes for the end of a line.
            head, *rows = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
            return cls._parsed(json.loads(head), [json.loads(row) for row in rows])
        except ValidationError as error:
            fault = faults(error)
        except (OSError, ValueError, TypeError) as error:
            fault = str(error)
        raise UsageError(f"{path} cannot be read ({fault}); copy the complete run folder, or train again")

    @classmethod
    def _parsed(cls, head: dict[str, object], rows: Sequence[Sequence[object]]) -> Self:
        written = head.pop("format", None)
        names = list(ListedImage.model_fields)
        if written == 1:  # without digests
            names.remove("content")
        elif written != cls.FORMAT:
            raise ValueError(f"format {written!r}, this version of mlkdc reads formats 1 and {cls.FORMAT}")
        images = [dict(zip(names, row, strict=True)) for row in rows]
        return cls.model_validate({**head, "images": images})
