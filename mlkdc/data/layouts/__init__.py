"""Readers of data sets, one file per layout on disk. To add a layout, add a file here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from mlkdc.errors import UsageError
from mlkdc.registry import Registry
from mlkdc.types import Box, TaggedImages

UNSPLIT = ""
"""The ``split`` of samples whose source has no official split; :func:`mlkdc.data.open_data` then makes one."""


@dataclass(frozen=True)
class Layout:
    """How one kind of data set is stored on disk.

    Args:
        summary: what the user must have, for messages: one line.
        detect: whether an existing path looks like this layout; opens no more than a header.
        read: the data set; raises :class:`UsageError` where it contradicts its layout. Samples carry an official
            split each, or all of them ``UNSPLIT``.
    """

    summary: str
    detect: Callable[[Path], bool]
    read: Callable[[Path], TaggedImages]


LAYOUTS: Registry[Layout] = Registry("layout", __name__)


def list_layouts() -> str:
    """The layouts that can be read, one line each."""
    lines = [f"  {name}: {layout.summary}" for name, layout in LAYOUTS.items()]
    return "\n".join([*lines, "  digits: the word 'digits', for the embedded data set"])


def read_text(path: Path) -> str:
    """A text file's content, without a byte order mark.

    Raises:
        UsageError: missing, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file, but this layout needs it") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: expected UTF-8 text, got a byte that is not ({error}); save it as UTF-8") from None


def read_lines(path: Path) -> list[str]:
    """A text file's lines, stripped, without the empty ones. Raises as :func:`read_text`."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def labels_of(boxes: Iterable[Box]) -> tuple[int, ...]:
    """The labels that occur among the boxes, sorted."""
    return tuple(sorted({box.label for box in boxes}))
