"""Where an artifact goes: a folder that is replaced by a complete one, or not at all, by one export at a time."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlkdc.train.lock import claimed

#: Holds, below the workplace, the artifact that is being replaced.
_ASIDE = "replaced"


@contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """An empty folder to make an artifact in, which no other export to that place has meanwhile.

    It is next to the artifact's, where moving is a single step, and two levels deep: artifacts of a run are looked for
    one level deep, so that what an export that was killed leaves behind is never taken for one. The next export to
    that place removes it.

    Raises:
        UsageError: another process exports to that place; the message says which, and since when.
        MlkdcError: the folder around it is not writable.
    """
    place = folder.with_name(f".{folder.name}.export")
    place.mkdir(parents=True, exist_ok=True)
    with claimed(place, shown=folder):
        scratch = place / "scratch"
        _recover(scratch, folder)
        scratch.mkdir()
        try:
            yield scratch
        finally:
            _recover(scratch, folder)


def _recover(scratch: Path, folder: Path) -> None:
    """Remove what an export has left; one that was ended between its two moves has left the artifact that was there."""
    aside = scratch / _ASIDE
    if aside.exists() and not folder.exists():
        aside.rename(folder)
    shutil.rmtree(scratch, ignore_errors=True)


def put_in_place(source: Path, folder: Path, scratch: Path) -> None:
    """Move ``source`` to ``folder``; what was there goes below ``scratch``, from where :func:`workplace` takes it back.

    All three must be on one file system, where moving a folder is a single step.
    """
    if folder.exists():
        folder.rename(scratch / _ASIDE)
    source.rename(folder)
