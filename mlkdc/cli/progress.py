"""A progress bar on a terminal; plain lines now and then elsewhere."""

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from mlkdc.cli.ending import nowhere
from mlkdc.progress import Progress


class _Console(Console):
    """On standard error. Where nobody reads that any more, a training goes on in silence."""

    def on_broken_pipe(self) -> None:
        self.file = nowhere()


class Shown(Progress):
    """Prints what it hears on standard error."""

    def __init__(self) -> None:
        # No emoji: `:a:` in an IPv6 address is none.
        self.console = _Console(stderr=True, highlight=False, emoji=False)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        self.bars = Bars(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)

    def say(self, text: str) -> None:
        try:
            self.console.print(text, soft_wrap=True, markup=False)
        except OSError:  # a full disk under the file that it is written to
            self.console.on_broken_pipe()

    def start(self, title: str, steps: int, done: int = 0) -> None:
        self.bars.start()
        self.task = self.bars.add_task(title, total=steps, completed=done, figures="")

    def step(self, figures: Mapping[str, float]) -> None:
        terms = dict(figures)
        rate, lr = terms.pop("images_per_second"), terms.pop("lr")
        shown = " ".join(f"{name} {value:.3g}" for name, value in terms.items())
        self.bars.update(self.task, advance=1, figures=f"{shown} lr {lr:.1e} {rate:.0f} img/s")

    def end(self) -> None:
        self.bars.stop()
        self.bars.remove_task(self.task)
