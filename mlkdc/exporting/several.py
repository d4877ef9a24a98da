"""Several exports in a row: one that cannot be made does not stop the others."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlkdc.errors import MlkdcError
from mlkdc.exporting.artifact import Say, export_artifact
from mlkdc.exporting.known import reference_of
from mlkdc.exporting.request import ExportOptions
from mlkdc.records.run import Run
from mlkdc.runtime.targets import load_target


def export_several(
    run: Run, options: Sequence[ExportOptions], say: Say
) -> Iterator[tuple[ExportOptions, Path | MlkdcError]]:
    """Each of the options with its artifact folder, or with why there is none, the slow ones last.

    Args:
        run: finished.
        options: one for each artifact; ``data`` and ``skip_parity`` are the same in all.
        say: called with a line of news.

    Raises:
        UsageError: the run's data is missing, or an image of it cannot be read.
    """
    reference = None
    if len(options) > 1 and not options[0].skip_parity:
        reference = reference_of(run, say, options[0].data)
    for option in sorted(options, key=_slowness):
        say(f"exporting to {option.target}, {_precision(option)}")
        started = time.monotonic()
        outcome: Path | MlkdcError
        try:
            outcome = export_artifact(run, option, reference=reference, say=say)
        except MlkdcError as error:
            outcome = error
        say(f"  {option.target}, {_precision(option)}: {time.monotonic() - started:.0f} s")
        yield option, outcome


def _precision(option: ExportOptions) -> str:
    return option.precision or load_target(option.target).default_precision


def _slowness(option: ExportOptions) -> tuple[bool, int]:
    """For sorting: a ladder of int8 comes after all that is exported once, and slow converters after fast ones."""
    return _precision(option) == "int8", load_target(option.target).slowness
