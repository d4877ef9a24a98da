"""Readers of data sets, one file per layout on disk. To add a layout, add a file here, or one in your own package."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlkdc.data.splits import UNSPLIT as UNSPLIT
from mlkdc.data.text import WINDOWS, read_any
from mlkdc.errors import UsageError
from mlkdc.registry import Registry
from mlkdc.types import TaggedImages

#: Entry points with which other packages bring readers.
GROUP = "mlkdc.layouts"


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about data that do not say it themselves.

    Args:
        separator: what joins the labels in a table's cell, as a character or a word; None finds out.
    """

    separator: str | None = None


@dataclass(frozen=True)
class Layout:
    """How one kind of data set is stored on disk.

    Args:
        summary: what the user must have, for messages: one line.
        detect: whether an existing path looks like this layout; opens no more than a header.
        read: the data set; raises :class:`UsageError` where it contradicts its layout. Samples carry an official
            split each, or all of them ``UNSPLIT``. Image paths may be as written: :func:`mlkdc.data.open_data` looks
            for files that are spelled otherwise or lie elsewhere, and joins samples of one image.
        automatic: whether files that look like it are enough; if not, the user must name it.
    """

    summary: str
    detect: Callable[[Path], bool]
    read: Callable[[Path, ReadOptions], TaggedImages]
    automatic: bool = True


LAYOUTS: Registry[Layout] = Registry("layout", __name__, after="mlkdc.data.plugins")


def list_layouts() -> str:
    """The layouts that can be read, one line each."""
    lines = [f"  {name}: {layout.summary}" for name, layout in LAYOUTS.items()]
    return "\n".join([*lines, "  digits: the word 'digits', for the embedded data set"])


def read_text(path: Path) -> str:
    """A text file's content, without a byte order mark.

    Raises:
        UsageError: missing, may not be read, or neither UTF-8 nor UTF-16.
    """
    text = read_any(path)
    if text.encoding == WINDOWS:
        raise UsageError(f"{path}: expected UTF-8 text, got a byte that is not; save it as UTF-8")
    return text.content


def read_lines(path: Path) -> list[str]:
    """A text file's lines, stripped, without the empty ones. Raises as :func:`read_text`."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]
