"""One training in a run folder at a time, and one export to a place.

The lock is the operating system's, which frees it when its process ends in whatever way: a folder whose owner was
killed is free at once, and the number of a process that is used again is not taken for the owner.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.owner import Owner
from mlkdc.records.run import LOCK_FILE, RUNS, clear_unused, is_unused
from mlkdc.train.processes import is_main

#: Between two looks at a folder that another process holds.
POLL_SECONDS = 1.0


@contextmanager
def locked(folder: Path, waiting: Callable[[str], None] | None = None, *, shown: Path | None = None) -> Iterator[None]:
    """Hold a folder for this process; of several that train one model, for all of them.

    What a killed training had not completed there is removed.

    Args:
        folder: exists.
        waiting: where the folder is in use, told by whom before this waits for it; None = it is an error.
        shown: what it is called in messages; None = the folder.

    Raises:
        UsageError: another process holds it; the message says which, and since when.
        MlkdcError: the folder is not writable.
    """
    if not is_main():
        yield
        return
    lock = FileLock(folder / LOCK_FILE)
    try:
        _acquire(lock, folder, shown or folder, waiting)
        owner = Owner(
            pid=os.getpid(), host=socket.gethostname(), since=datetime.now().astimezone().isoformat(timespec="seconds")
        )
        owner.save(folder)
        # Only in the process that writes: another one would remove what this one is writing.
        clear_unused(folder)
    except OSError as error:
        raise MlkdcError(
            f"{shown or folder} cannot be locked ({error.strerror or error}); name another with --out"
        ) from error
    try:
        yield
    finally:
        (folder / Owner.FILE).unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, folder: Path, shown: Path, waiting: Callable[[str], None] | None) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting is None:
            raise UsageError(
                f"{shown} is in use by {_owner(folder)}: wait for it or stop it, or start in another folder: "
                "`--out ANOTHER`"
            ) from None
        waiting(f"waiting for {shown}, which is being written by {_owner(folder)}")
        lock.acquire(poll_interval=POLL_SECONDS)


def _owner(folder: Path) -> str:
    try:
        return str(Owner.load(folder))
    except UsageError:  # it is about to write the file, or has just ended
        return "another process"


@contextmanager
def claimed(folder: Path, shown: Path | None = None) -> Iterator[None]:
    """Hold a folder that was made for this training or export; it is removed again if nothing is left there.

    Raises:
        UsageError, MlkdcError: as :func:`locked`.
    """
    with locked(folder, shown=shown):
        try:
            yield
        finally:
            if is_main() and is_unused(folder):
                _remove(folder)


def _remove(folder: Path) -> None:
    clear_unused(folder)
    (folder / Owner.FILE).unlink()
    (folder / LOCK_FILE).unlink()
    # A folder is not empty where another command has just begun in it.
    with suppress(OSError):
        folder.rmdir()
        # Made by the first command here; a parent that the user named is left.
        if folder.parent == RUNS:
            RUNS.rmdir()
