"""An `mlkdc` command, whose int8 ladder is timed: any version's, the one that is found first is run.

    PYTHONPATH=CHECKOUT python benchmarks/ladder_timed.py FILE export RUN --target onnx --precision int8

The seconds from the ladder's beginning to its end, less those in which the torch model answered, go to FILE.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlkdc.exporting import reference

spent = {"ladder": 0.0, "torch": 0.0}


def timed(work: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The same, its seconds added up."""

    def run(*arguments: object, **options: object) -> object:
        start = time.perf_counter()
        try:
            return work(*arguments, **options)
        finally:
            spent[name] += time.perf_counter() - start

    return run


# Before any other module takes them by name.
reference.make_reference = timed(reference.make_reference, "torch")
from mlkdc.exporting.int8 import guard  # noqa: E402

guard.climb = timed(guard.climb, "ladder")

if __name__ == "__main__":
    from mlkdc.cli import main

    file = Path(sys.argv.pop(1))
    try:
        main()
    finally:
        file.write_text(str(spent["ladder"] - spent["torch"]), encoding="utf-8")
