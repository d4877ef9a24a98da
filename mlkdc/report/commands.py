"""The commands that made a run, and those that make its artifacts again."""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlkdc.records.bench import BenchFile
from mlkdc.records.manifest import EXPORT_FOLDER, Manifest
from mlkdc.records.report import Command
from mlkdc.records.results import Results

if TYPE_CHECKING:
    from mlkdc.bench.recommend import Budget


def commands(
    results: Results,
    artifacts: Mapping[str, Manifest],
    bench: BenchFile | None,
    quoted_run: str,
    budget: "Budget | None" = None,
) -> tuple[Command, ...]:
    """What was typed, where that is recorded; for exports, what makes the same artifact again."""
    listed = []
    if bench is None:
        listed.append(Command(what="trained with", command=results.command))
    elif bench.command == results.command:
        # `mlkdc run` does it all under one command line.
        listed.append(Command(what="trained, exported and timed with", command=results.command))
    else:
        listed.append(Command(what="trained with", command=results.command))
        listed.append(Command(what="timed with", command=bench.command))
    for name, manifest in artifacts.items():
        again = " ".join(["mlkdc export", quoted_run, *_export_options(manifest)])
        # Without it, the artifact under the usual name would be replaced.
        if name != manifest.key:
            again += f" --out {quoted_run}/{EXPORT_FOLDER}/{shlex.quote(name)}"
        listed.append(Command(what=f"exports {name} again", command=again))
    listed.append(
        Command(what="makes this report again", command=f"mlkdc report {quoted_run}{_budget_options(budget)}")
    )
    return tuple(listed)


def _budget_options(budget: "Budget | None") -> str:
    if budget is None:
        return ""
    options = f" --budget {budget.milliseconds:g}ms"
    if budget.map_percent is not None:
        options += f" --min-map {budget.map_percent:g}"
    return options


def _export_options(manifest: Manifest) -> list[str]:
    options = [f"--target {manifest.target}", f"--precision {manifest.precision}"]
    if manifest.details.reduce_range is True:
        options.append("--reduce-range")
    elif manifest.details.reduce_range is False:
        options.append("--no-reduce-range")
    comparison = manifest.parity.comparison
    # An int8 model is made in steps until its drop is small enough: only there do the limits shape the model.
    if manifest.precision == "int8" and comparison is not None:
        options.append(f"--max-drop {comparison.tolerance.map_drop_points:g}")
        options.append(f"--max-class-drop {comparison.tolerance.class_drop_points:g}")
    if manifest.quantization is not None and manifest.quantization.equalize != (manifest.merge.branches > 0):
        options.append("--equalize" if manifest.quantization.equalize else "--no-equalize")
    if manifest.fine_tuning is not None:
        options.append(f"--qat-epochs {manifest.fine_tuning.epochs}")
    if manifest.dynamic_batch:
        options.append("--dynamic")
    if manifest.input.dtype == "uint8":
        options.append("--uint8")
    return options
