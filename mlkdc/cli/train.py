"""`mlkdc run` and `mlkdc distill`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlkdc.cli.shared import command_line, data_option, make_progress, recipe_option, require, set_option, table
from mlkdc.errors import UsageError

if TYPE_CHECKING:
    from mlkdc.recipe import Recipe

_OPTIONS = (
    recipe_option,
    data_option,
    click.option("--teacher", metavar="MODEL|RUN|FILE", help="Model to fine-tune, a run, or a weights file."),
    click.option("--weights", metavar="pretrained|none|FILE", help="First weights of the student."),
    click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be read, naming them."),
    click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: a fresh one in runs/."),
    click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with a stopped run."),
    set_option,
)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _job(example: str, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments that training takes, from the options as given.

    Raises:
        UsageError: no recipe, or options beside ``--resume``, which goes on with the folder's own recipe.
    """
    resume = given.pop("resume")
    out = given.pop("out")
    if resume is not None and (out or any(given.values())):
        raise UsageError("--resume goes on with the folder's own recipe; give nothing else with it")
    recipe = None if resume is not None else _recipe(example, **given)
    return {"recipe": recipe, "out": out, "resume": resume, "command": command_line(), "progress": make_progress()}


def _recipe(
    example: str,
    *,
    recipe_name: str | None,
    data_path: str | None,
    teacher: str | None,
    weights: str | None,
    skip_bad: bool,
    settings: tuple[str, ...],
) -> "Recipe":
    from mlkdc.recipe import load_recipe

    name = require(recipe_name, "--recipe", example)
    data = {**({"path": data_path} if data_path else {}), **({"skip_bad": True} if skip_bad else {})}
    overrides: dict[str, Any] = {"data": data, "student": {"weights": weights} if weights else {}}
    recipe = load_recipe(name, list(settings), overrides)
    if teacher:
        from mlkdc.train.teacher import choose_teacher

        recipe = choose_teacher(recipe, teacher)
    return recipe


@click.command()
@_options
def distill(**given: Any) -> None:
    """Train a student, with a teacher if the recipe's method has one."""
    from mlkdc.train import distill as train
    from mlkdc.train.compare import verdict
    from mlkdc.train.processes import is_main

    run = train(**_job("mlkdc distill --recipe l2d-mobilenet", given))
    if not is_main():
        return
    results = run.results
    names = ["mAP", "OF1", "CF1", "OF1@tuned", "CF1@tuned"]
    figures = [f"{results.metrics[name]:.2f}" for name in names]
    model = f"{results.model.model} ({results.method})"
    click.echo(table([f"on {results.scored_on}", *names], [[model, *figures]]))
    if said := verdict(run):
        click.echo(f"\n{said}")
    click.echo(f"\nrun: {run.path}\nnext: mlkdc export {run.path} --target onnx\n      mlkdc report {run.path}")


@click.command()
@_options
def run(**given: Any) -> None:
    """Everything: teacher, student, export, parity check, latency, report."""
    from mlkdc.commands.artifacts import newest_artifact
    from mlkdc.commands.pipeline import run_all, summary_rows
    from mlkdc.train.processes import several

    if several():
        raise UsageError(
            "`mlkdc run` measures in one process; under torchrun use `mlkdc distill`, then export and bench"
        )
    done, page = run_all(**_job("mlkdc run --recipe quickstart", given))
    click.echo("\n" + table(*summary_rows(done)))
    sample = done.data().samples[0].image
    click.echo(
        f"\nreport: {page}\nnext:   mlkdc predict {sample} --model {newest_artifact(done)}\n"
        f"        mlkdc evaluate {done.path}\n"
        "        mlkdc data YOUR_PHOTOS/        what mlkdc finds in your own images\n"
        "        mlkdc distill --recipe l2d-mobilenet --data YOUR_PHOTOS/"
    )
