"""Silence for libraries that print notes about themselves."""

import contextlib
import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import TextIO


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing that the process prints inside is seen, whether from Python or from below; what is raised passes.

    The file descriptors are redirected, since compiled code does not look at ``sys.stdout``, and ``sys.stdout`` too,
    since in a notebook it leads elsewhere.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor, _ in kept:
            os.dup2(sink, descriptor)
        with contextlib.redirect_stdout(_nowhere()), contextlib.redirect_stderr(_nowhere()):
            yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in kept:
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(sink)


@cache
def _nowhere() -> TextIO:
    """Never closed: a library that is imported inside keeps it for what it logs later."""
    return open(os.devnull, "w")
