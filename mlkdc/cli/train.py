"""`mlkdc run` and `mlkdc distill`."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlkdc.cli.bench import raise_if_bad
from mlkdc.cli.shared import command_line, data_option, examples, recipe_option, require, say, set_option, show
from mlkdc.errors import UsageError
from mlkdc.figures import number
from mlkdc.tables import Table

if TYPE_CHECKING:
    from mlkdc.recipe import Recipe
    from mlkdc.records.results import Results
    from mlkdc.records.run import Run

METRICS = ("mAP", "OF1", "CF1", "OF1@tuned", "CF1@tuned")

_OPTIONS = (
    recipe_option,
    data_option,
    click.option("--teacher", metavar="MODEL|RUN|FILE", help="Model to fine-tune, a run, or a weights file."),
    click.option("--weights", metavar="pretrained|none|FILE", help="Initial weights of the student."),
    click.option("--skip-bad", is_flag=True, help="Skip images that cannot be read, naming them."),
    click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: a new one in runs/."),
    click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Resume a stopped run."),
    set_option,
)


@dataclass(frozen=True)
class _Given:
    """The options of both commands, as typed."""

    recipe_name: str | None
    data_path: str | None
    teacher: str | None
    weights: str | None
    skip_bad: bool
    out: Path | None
    resume: Path | None
    settings: tuple[str, ...]

    def recipe(self, example: str) -> "Recipe | None":
        """The recipe to train; None where a run is resumed, which has its own.

        Raises:
            UsageError: no recipe, or options next to ``--resume``.
        """
        if self.resume is None:
            return self._load(require(self.recipe_name, "--recipe", example))
        if self.out or self.settings or self.skip_bad or self._named():
            raise UsageError(
                "--resume uses the recipe in its run folder; omit all other options (but --data, if the data has moved)"
            )
        return None

    @property
    def moved_data(self) -> str | None:
        """Where the data of a resumed run is now; None where it has not moved, or no run is resumed."""
        if self.resume is None:
            return None
        return self.data_path

    def _named(self) -> bool:
        return any((self.recipe_name, self.teacher, self.weights))

    def _load(self, name: str) -> "Recipe":
        from mlkdc.commands.check import read_recipe
        from mlkdc.train.teacher import choose_teacher

        overrides: dict[str, dict[str, Any]] = {"data": {}, "student": {}}
        if self.data_path:
            overrides["data"]["path"] = self.data_path
        if self.skip_bad:
            overrides["data"]["skip_bad"] = True
        if self.weights:
            overrides["student"]["weights"] = self.weights
        recipe = read_recipe(name, self.settings, overrides)
        if self.teacher:
            return choose_teacher(recipe, self.teacher)
        return recipe


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(
    short_help="Train a student, with or without a teacher.",
    epilog=examples(
        "mlkdc distill --recipe l2d-mobilenet --data photos/ --teacher resnet101",
        "mlkdc distill --recipe mskd-repvgg --data photos/ --set train.epochs=20",
        "mlkdc distill --resume runs/photos",
    ),
)
@_options
def distill(**values: Any) -> None:
    """Train a student, with a teacher if the recipe's method has one."""
    from mlkdc.commands.halves import require_training

    require_training("training")
    from mlkdc.cli.progress import Shown
    from mlkdc.train import distill as train
    from mlkdc.train.compare import verdict
    from mlkdc.train.processes import is_main

    given = _Given(**values)
    recipe = given.recipe("mlkdc distill --recipe l2d-mobilenet")
    run = train(
        recipe,
        out=given.out,
        resume=given.resume,
        data=given.moved_data,
        command=command_line(),
        progress=Shown(),
    )
    if not is_main():
        return
    results = run.results
    figures = [number(results.metrics[name]) for name in METRICS]
    model = f"{results.model.model} ({results.method})"
    show(Table([f"on {results.scored_on}", *METRICS], [[model, *figures]]))
    if results.chosen_on is not None:
        click.echo(f"\nweights: {results.kept}{_caution(results)}")
    if sentence := verdict(run):
        click.echo(f"\n{sentence}")
    quoted = shlex.quote(str(run.path))
    click.echo(f"\nrun: {run.path}\nnext: mlkdc export {quoted} --target onnx\n      mlkdc report {quoted}")


def _caution(results: "Results") -> str:
    if results.chosen_on != results.scored_on:
        return ""
    return ", the images they are scored on: mAP is optimistic"


@click.command(
    short_help="Everything: train, export, check, measure, report.",
    epilog=examples("mlkdc run --recipe quickstart", "mlkdc run --recipe l2d-mobilenet --data photos/"),
)
@_options
def run(**values: Any) -> None:
    """Everything in a row: teacher, student, export, parity check, latency, report."""
    from mlkdc.commands.halves import require_training

    require_training("training")
    from mlkdc.cli.progress import Shown
    from mlkdc.commands.run import run_all, summary_table
    from mlkdc.train.processes import several

    if several():
        raise UsageError(
            "`mlkdc run` measures in one process; under torchrun use `mlkdc distill`, then export and bench"
        )
    given = _Given(**values)
    recipe = given.recipe("mlkdc run --recipe quickstart")
    done, figures, page = run_all(
        recipe,
        out=given.out,
        resume=given.resume,
        data=given.moved_data,
        command=command_line(),
        progress=Shown(),
    )
    click.echo()
    show(summary_table(done))
    click.echo(f"\nreport: {page}\nnext:   " + "\n        ".join(_next_commands(done, given.moved_data)))
    raise_if_bad(figures)


def _next_commands(done: "Run", moved_to: str | None) -> list[str]:
    """What to type after `mlkdc run`; ``moved_to``: as of :func:`mlkdc.commands.run.example_image`."""
    from mlkdc.commands.run import example_image

    commands = [
        shlex.join(["mlkdc", "evaluate", str(done.path), *(["--data", moved_to] if moved_to else [])]),
        "mlkdc data YOUR_PHOTOS/        what mlkdc finds in your own images",
        "mlkdc distill --recipe short/hint-mobilenet --data YOUR_PHOTOS/",
    ]
    image = example_image(done, moved_to)
    if image is not None:
        artifact = done.newest_artifact(say)
        commands.insert(0, shlex.join(["mlkdc", "predict", str(image), "--model", str(artifact)]))
    return commands
