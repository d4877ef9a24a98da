"""What several commands share: the recorded command line, the progress bar, picking a run."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlkdc.errors import UsageError

if TYPE_CHECKING:
    from mlkdc.progress import Progress
    from mlkdc.records.run import Run

recipe_option = click.option("--recipe", "recipe_name", metavar="NAME|FILE", help="A shipped recipe or a YAML file.")
data_option = click.option("--data", "data_path", metavar="PATH", help="Your images; see `mlkdc data`.")
set_option = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a recipe value.")
run_argument = click.argument("run_folder", required=False, type=click.Path(path_type=Path), metavar="[RUN]")


def command_line() -> str:
    """The command as it was typed, for the records."""
    return shlex.join(["mlkdc", *sys.argv[1:]])


def pick_run(folder: Path | None) -> "Run":
    """The run folder given, or the newest finished one, saying which."""
    from mlkdc.records.run import load_run, newest_run

    if folder is not None:
        return load_run(folder)
    run = newest_run()
    click.echo(f"run: {run.path} (the newest)", err=True)
    return run


def say(text: str) -> None:
    """One line of news on standard error, so that standard output stays a result."""
    click.echo(text, err=True)


def make_progress() -> "Progress":
    """A progress bar on a terminal; plain lines now and then elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from mlkdc.progress import Progress

    console = Console(stderr=True, highlight=False)

    class Shown(Progress):
        def __init__(self) -> None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
            )
            self.bars = Bars(*columns, console=console, transient=True, disable=not console.is_terminal)

        def say(self, text: str) -> None:
            console.print(text, soft_wrap=True, markup=False)

        def start(self, title: str, steps: int, done: int = 0) -> None:
            self.bars.start()
            self.task = self.bars.add_task(title, total=steps, completed=done, figures="")

        def step(self, figures: Mapping[str, float]) -> None:
            named = dict(figures)
            rate, lr = named.pop("images_per_s"), named.pop("lr")
            terms = " ".join(f"{name} {value:.3g}" for name, value in named.items())
            self.bars.update(self.task, advance=1, figures=f"{terms} lr {lr:.1e} {rate:.0f} img/s")

        def end(self) -> None:
            self.bars.stop()
            self.bars.remove_task(self.task)

    return Shown()


def table(header: list[str], rows: list[list[str]]) -> str:
    """Aligned columns: figures to the right, words and the first column to the left."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    words = [column == 0 or any(row[column][:1].isalpha() for row in rows) for column in range(len(header))]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        placed = zip(row, widths, words, strict=True)
        lines.append("  ".join(cell.ljust(size) if word else cell.rjust(size) for cell, size, word in placed).rstrip())
    return "\n".join(lines)


def require(value: str | None, what: str, example: str) -> str:
    """The value, or a UsageError that shows how to give it."""
    if not value:
        raise UsageError(f"{what} is missing; for example: {example}")
    return value
