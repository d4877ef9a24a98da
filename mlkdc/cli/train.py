"""`mlkdc run` and `mlkdc distill`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlkdc.cli.shared import (
    command_line,
    data_option,
    make_progress,
    recipe_option,
    require,
    set_option,
    table,
)
from mlkdc.errors import UsageError

if TYPE_CHECKING:
    from mlkdc.recipe import Recipe

_OUT = click.option("--out", type=click.Path(path_type=Path), help="Run folder; default: a fresh one in runs/.")
_TEACHER = click.option("--teacher", metavar="MODEL|RUN|FILE", help="Model to fine-tune, a run, or a weights file.")
_WEIGHTS = click.option("--weights", metavar="pretrained|none|FILE", help="First weights of the student.")
_SKIP = click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be read, naming them.")


def _recipe(
    name: str,
    settings: tuple[str, ...],
    data: str | None,
    teacher: str | None,
    weights: str | None,
    skip_bad: bool,
) -> "Recipe":
    from mlkdc.recipe import load_recipe

    more = [f"data.path={Path(data).resolve() if Path(data).exists() else data}"] if data else []
    more += [f"student.weights={weights}"] if weights else []
    more += ["data.skip_bad=true"] if skip_bad else []
    recipe = load_recipe(name, [*settings, *more])
    if teacher:
        from mlkdc.engine.teacher import choose_teacher

        recipe = choose_teacher(recipe, teacher)
    return recipe


@click.command()
@recipe_option
@data_option
@_TEACHER
@_WEIGHTS
@_SKIP
@_OUT
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with a stopped run.")
@set_option
def distill(
    recipe_name: str | None,
    data_path: str | None,
    teacher: str | None,
    weights: str | None,
    skip_bad: bool,
    out: Path | None,
    resume: Path | None,
    settings: tuple[str, ...],
) -> None:
    """Train a student, with a teacher if the recipe's method has one."""
    from mlkdc.engine import distill as train
    from mlkdc.recipe import Recipe

    if resume is not None:
        if recipe_name or settings or data_path or teacher or out:
            raise UsageError("--resume goes on with the folder's own recipe; give nothing else with it")
        recipe = Recipe()
    else:
        name = require(recipe_name, "--recipe", "mlkdc distill --recipe l2d-mobilenet")
        recipe = _recipe(name, settings, data_path, teacher, weights, skip_bad)
    done = train(recipe, out=out, resume=resume, command=command_line(), progress=make_progress())
    results = done.results
    names = ["mAP", "OF1", "CF1", "OF1@tuned", "CF1@tuned"]
    figures = [f"{results['metrics'][name]:.2f}" for name in names]
    model = f"{results['model']['model']} ({results['method']})"
    click.echo(table([f"on {results['scored_on']}", *names], [[model, *figures]]))
    click.echo(f"\nrun: {done.path}\nnext: mlkdc export {done.path} --target onnx\n      mlkdc report {done.path}")


@click.command()
@recipe_option
@data_option
@_TEACHER
@_WEIGHTS
@_SKIP
@_OUT
@set_option
def run(
    recipe_name: str | None,
    data_path: str | None,
    teacher: str | None,
    weights: str | None,
    skip_bad: bool,
    out: Path | None,
    settings: tuple[str, ...],
) -> None:
    """Everything: teacher, student, export, parity check, latency, report."""
    from mlkdc.pipeline import run_all, summary_rows

    name = require(recipe_name, "--recipe", "mlkdc run --recipe quickstart")
    recipe = _recipe(name, settings, data_path, teacher, weights, skip_bad)
    done, page = run_all(recipe, out=out, command=command_line(), progress=make_progress())
    header, rows = summary_rows(done)
    click.echo("\n" + table(header, rows))
    artefact = done.path / "export" / f"{recipe.targets[0]}-fp32"
    sample = done.data().samples[0].image
    click.echo(
        f"\nreport: {page}\nnext:   mlkdc predict {sample} --model {artefact}\n"
        f"        mlkdc evaluate {done.path}\n"
        "        mlkdc data YOUR_PHOTOS/        what mlkdc finds in your own images\n"
        "        mlkdc distill --recipe l2d-mobilenet --data YOUR_PHOTOS/"
    )
