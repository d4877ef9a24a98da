"""Other agents on the device: folders of those that were killed, and the one that measures. Standard library only."""

import contextlib
import errno
import os
import shutil
import socket
import sys
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Of folders of agents.
PREFIX = "mlkdc-"
#: Locked as long as its agent lives, which process numbers, used again and different in containers, do not tell.
ALIVE = "alive"
#: A name of Linux's that is no file: it is gone with the process that holds it, and seen by all users.
MEASURING = "\0mlkdc-measuring"


def mark(folder: Path) -> None:
    """Say in an agent's folder that it lives, until this process ends."""
    if fcntl is None:
        return
    new = folder / f"{ALIVE}.new"
    # Not every file system has locks.
    with contextlib.suppress(OSError):
        # Never closed. Nobody finds it under its name before it is locked.
        file = os.open(new, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        new.rename(folder / ALIVE)


def unmark(folder: Path) -> None:
    """The folder is to stay."""
    (folder / ALIVE).unlink(missing_ok=True)


def remove_dead(place: Path) -> int:
    """Remove folders of this user's agents that ended without doing so; how many."""
    if fcntl is None:
        return 0
    removed = 0
    for folder in place.glob(f"{PREFIX}*"):
        if _dead(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _dead(folder: Path) -> bool:
    try:
        file = os.open(folder / ALIVE, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        # Kept on purpose, of another program or user, or just removed.
        return False
    try:
        if folder.is_symlink() or os.fstat(file).st_uid != os.geteuid():
            return False
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def claim() -> bool:
    """Whether this process is now the one that measures on this device, until it ends.

    Where the system has no such names, as many as like to are.
    """
    if sys.platform not in ("linux", "android"):
        return True
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        held.bind(MEASURING)
    except OSError as error:
        held.close()
        return error.errno != errno.EADDRINUSE
    # Open until the end of the process, and not in its children.
    held.detach()
    return True
