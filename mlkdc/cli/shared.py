"""What several commands share: options, examples in the help, the recorded command line, picking a run."""

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from mlkdc.errors import UsageError
from mlkdc.tables import TERMINAL_WIDTH, Table

if TYPE_CHECKING:
    from mlkdc.records.run import Run

Decorated = TypeVar("Decorated", bound=Callable[..., object])

recipe_option = click.option("--recipe", "recipe_name", metavar="NAME|FILE", help="A shipped recipe or a YAML file.")
data_option = click.option("--data", "data_path", metavar="PATH", help="Your images; see `mlkdc data`.")
set_option = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a recipe value.")
run_argument = click.argument("run_folder", required=False, type=click.Path(path_type=Path), metavar="[RUN]")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def examples(*lines: str) -> str:
    """The end of a command's help: worked examples, one a line."""
    # \\b keeps click from joining the lines.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def command_line() -> str:
    """The command as it was typed, for the records."""
    return shlex.join(["mlkdc", *sys.argv[1:]])


def pick_run(folder: Path | None) -> "Run":
    """The run folder given, or the newest finished one, saying which."""
    from mlkdc.records.run import load_run, newest_run

    if folder is not None:
        return load_run(folder)
    run = newest_run()
    say(f"run: {run.path} (the newest)")
    return run


def say(text: str) -> None:
    """One line of news on standard error, so that standard output stays a result."""
    click.echo(text, err=True)


def show(table: Table) -> None:
    """Print a table: as wide as the terminal, or 80 columns where there is none."""
    width = shutil.get_terminal_size((TERMINAL_WIDTH, 24)).columns
    click.echo(table.text(width))


def require(value: str | None, what: str, example: str) -> str:
    """The value, or a UsageError that shows how to give it."""
    if not value:
        raise UsageError(f"{what} is missing; for example: {example}")
    return value
