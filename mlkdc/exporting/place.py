"""Where an artifact goes: a folder that is replaced by a complete one, or not at all."""

from pathlib import Path

from mlkdc.errors import UsageError
from mlkdc.records.manifest import is_artifact


def check_replaceable(folder: Path) -> None:
    """Raise UsageError where the folder holds something else than an artifact."""
    if not folder.exists():
        return
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if not is_empty and not is_artifact(folder):
        raise UsageError(f"{folder} is not an artifact and is not replaced; name another folder with --out")


def put_in_place(source: Path, folder: Path, aside: Path) -> None:
    """Move ``source`` to ``folder``; what was there goes to ``aside``, and back if that fails.

    All three must be on one file system, where moving a folder is a single step.
    """
    if not folder.exists():
        source.rename(folder)
        return
    folder.rename(aside)
    try:
        source.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
