"""Artifacts that a study makes and puts nowhere."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mlkdc.exporting import ExportOptions
from mlkdc.exporting.builder import Builder
from mlkdc.exporting.reference import Reference
from mlkdc.exporting.request import make_request
from mlkdc.records.run import Run


@contextmanager
def builder_of(run: Run, options: ExportOptions, reference: Reference) -> Iterator[Builder]:
    """A builder whose artifacts lie in a folder that is gone afterwards; ``reference``: made once for all of a run."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        request = make_request(run, replace(options, out=scratch / "not used"))
        yield Builder(request, scratch, reference=reference, say=print)
