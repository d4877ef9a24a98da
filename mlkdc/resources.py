"""Where shipped data files and caches are, and writing a file so that it is complete or absent."""

import hashlib
import json
import logging
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from mlkdc.errors import MlkdcError


def shipped(kind: str) -> Path:
    """The folder of shipped data files: ``recipes`` or ``export``, from the wheel or from the checkout."""
    package = Path(__file__).parent
    for folder in (package / "_resources" / kind, package.parent / kind):
        if folder.is_dir():
            return folder
    raise MlkdcError(f"the shipped folder {kind!r} is missing from this installation; reinstall mlkdc")


def cache_dir(kind: str) -> Path:
    """A folder for what can be made again, made if absent.

    In ``$MLKDC_CACHE``, else ``$XDG_CACHE_HOME/mlkdc``, else ``~/.cache/mlkdc``; where none of them can be written (a
    container's user has no home), below the system's folder for temporary files, which is said once.

    Raises:
        MlkdcError: that one cannot be written either.
    """
    root = _cache_root()
    if root is not None and _is_writable(root / kind):
        return root / kind
    chosen = Path(tempfile.gettempdir()) / f"mlkdc-cache-{_user()}"
    if not (_is_writable(chosen / kind) and _is_private(chosen)):
        raise MlkdcError(f"neither {root} nor {chosen} can be written; set MLKDC_CACHE to a folder that can")
    _say_once(f"the cache {root or 'below the home folder'} cannot be written; using {chosen} (MLKDC_CACHE chooses)")
    return chosen / kind


def _cache_root() -> Path | None:
    """None for a user without a home."""
    chosen = os.environ.get("MLKDC_CACHE")
    if chosen:
        return Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME")
    if caches:
        return Path(caches) / "mlkdc"
    try:
        return Path.home() / ".cache" / "mlkdc"
    except RuntimeError:
        return None


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _is_private(folder: Path) -> bool:
    """Whether a folder among those of all users is this user's: another one could have put something there."""
    if not hasattr(os, "geteuid"):
        return True
    return folder.stat().st_uid == os.geteuid() and not folder.is_symlink()


def _user() -> str:
    if hasattr(os, "geteuid"):
        return str(os.geteuid())
    return "user"


@lru_cache
def _say_once(text: str) -> None:
    logging.getLogger(__name__).warning(text)


#: How the name of a file ends, as a regular expression, that is not complete: as :mod:`tempfile` draws it.
TEMPORARY = "[a-z0-9_]{8}"


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary)`` and put the result at ``path``: a reader sees the old file or the complete new one.

    Raises:
        MlkdcError: the disk is full or not writable; whatever was at ``path`` before is still there.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        # Windows flushes only files that are open for writing.
        with temporary.open("r+b") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise MlkdcError(
            f"could not write {path}: {error.strerror or error}; what was there before is untouched; "
            "free some space or point --out at another disk"
        ) from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, lists of numbers on one line, atomically.

    NaN is refused: a missing number is ``null``.
    """
    text = json.dumps(value, indent=2, allow_nan=False)
    # Thousands of samples would be as many lines. No text holds a line break, so none of this is inside one.
    text = re.sub(r"\[\n\s+(-?\d[-\d.eE+,\s]*)\]", _on_one_line, text)
    write_text(path, text + "\n")


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{', '.join(numbers[1].replace(',', ' ').split())}]"


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, the same bytes on every system. Raises as :func:`write_atomic`.

    What is no text, as bytes in the name of a file that are no UTF-8, is escaped.
    """
    write_atomic(
        path,
        lambda temporary: temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n"),
    )


def keep_traceback(error: BaseException) -> Path | None:
    """The file with the command and where an error nobody foresaw was raised; None where none can be written."""
    name = f"{datetime.now():%Y-%m-%d-%H%M%S-%f}-{os.getpid()}.txt"
    lines = [" ".join(["mlkdc", *sys.argv[1:]]), *traceback.format_exception(error)]
    try:
        path = cache_dir("errors") / name
        write_text(path, "\n".join(lines))
    except MlkdcError:
        return None
    return path


def digest(value: object, length: int = 12) -> str:
    """A short hex digest of a JSON-able value, the same for equal values on every machine."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def file_sha256(path: Path) -> str:
    """The file's SHA-256 as hex."""
    hashed = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()
