"""Looking into folders, of which the user may not be allowed to read all (``lost+found`` on a disk of its own)."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from mlkdc.images import image_suffixes

#: Files looked at below a folder, at most: someone may point at a complete disk.
MOST_FILES = 1_000_000


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name; nothing where there is no folder or it may not be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder that can be seen, without hidden ones."""
    return [entry for entry in entries(folder) if not entry.name.startswith(".") and os.path.isdir(entry)]


def images_by_stem(folder: Path) -> dict[str, Path]:
    """The image files in a folder, by their names without suffix."""
    files = {}
    for file in entries(folder):
        if file.suffix.lower() in image_suffixes():
            files[file.stem] = file
    return files


def _is_special(path: Path) -> bool:
    """Whether it is there and neither a file nor leads to one: reading from a pipe would wait for ever."""
    return not path.is_file() and path.exists()


def images_below(
    folder: Path, *, most_files: float = MOST_FILES, on_error: Callable[[OSError], None] | None = None
) -> Iterator[Path]:
    """The image files in a folder and below, by their suffix; hidden folders are left out.

    Args:
        folder: where to look.
        most_files: files of any kind that are looked at; it ends after so many.
        on_error: called for each folder that may not be read; None passes it over.
    """
    suffixes = image_suffixes()
    seen = 0
    for place, subfolders, names in os.walk(folder, onerror=on_error):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            seen += 1
            if seen > most_files:
                return
            if os.path.splitext(name)[1].lower() not in suffixes:
                continue
            path = Path(place, name)
            if not _is_special(path):
                yield path
