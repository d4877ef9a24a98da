"""How a command ends: its exit code, and what is said of an error."""

import errno
import os
import sys
import traceback
from typing import TextIO

import click

from mlkdc.errors import MlkdcError, first_line

DEBUG = "--debug"
FAILED = 1
STOPPED = 130


def prepare_streams() -> None:
    """Let every text be printed: what a locale cannot write, such as a label's letters in ASCII, is escaped."""
    for stream in (sys.stdout, sys.stderr):
        # A closed stream is None, and one that a test puts in its place need not be able to do this.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def nowhere() -> TextIO:
    """A stream whose text nobody reads."""
    return open(os.devnull, "w", encoding="utf-8")


def exit_code(error: BaseException, debug: bool) -> int | str | None:
    """Say what went wrong, in one sentence unless ``debug``.

    Returns:
        The exit code that stands for it.
    """
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    # click ends the program where standard output has gone away.
    if isinstance(error, SystemExit) and _raised_in(error).startswith("click."):
        return error.code
    if debug and not isinstance(error, click.ClickException | click.Abort):
        _say("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, click.ClickException):
        error.show()
        return 2
    if isinstance(error, click.Abort | KeyboardInterrupt):
        _say("stopped")
        return STOPPED
    if isinstance(error, MlkdcError):
        _say(f"error: {error}")
        return error.exit_code
    if _is_of_output(error):
        return _output_lost(error)
    _say(f"error: {_unexpected(error, debug)}")
    return FAILED


def _raised_in(error: BaseException) -> str:
    """The module whose code raised an error."""
    name = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__", ""))
    return name


def _say(text: str) -> None:
    try:
        click.echo(text, err=True)
    except OSError:  # nobody is left to hear it
        return


def _unexpected(error: BaseException, debug: bool) -> str:
    what = f"{type(error).__name__}: {first_line(error)}"
    if isinstance(error, OSError) and error.filename is not None:
        what = f"{error.filename}: {error.strerror}"
    if debug:
        return what
    from mlkdc.resources import keep_traceback

    path = keep_traceback(error)
    if path is None:
        return f"{what}; the same command with {DEBUG} shows where"
    return f"{what}; where, is in {path} (or use {DEBUG})"


def _is_of_output(error: BaseException) -> bool:
    """Whether standard output has gone away, as in ``mlkdc ls models | head``, or has no space left."""
    if isinstance(error, BrokenPipeError):
        return True
    return isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None


def _output_lost(error: BaseException) -> int:
    # Python flushes the stream once more when it exits, which must not fail again.
    sys.stdout = nowhere()
    if not isinstance(error, BrokenPipeError):
        _say(f"error: standard output cannot be written ({os.strerror(errno.ENOSPC)})")
    return FAILED


def flushed(code: int | str | None) -> int | str | None:
    """The exit code once all that was printed is written: a full disk shows only then."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        return _output_lost(error)
    return code
