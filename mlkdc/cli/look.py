"""`mlkdc data`, `ls`, `cp`, `validate` and `doctor`."""

import json
from pathlib import Path

import click

from mlkdc.cli.shared import say, set_option, table
from mlkdc.errors import UsageError


@click.command()
@click.argument("path")
@click.option("--layout", help="Name of the reader (`mlkdc ls layouts`) where several fit.")
@click.option("--json", "as_json", is_flag=True)
def data(path: str, layout: str | None, as_json: bool) -> None:
    """What mlkdc finds in your images: splits, labels, counts, every problem."""
    from mlkdc.data import open_data
    from mlkdc.data.check import inspect, summary

    found = open_data(path, layout=layout)
    problems, counts = inspect(found), summary(found)
    if as_json:
        click.echo(
            json.dumps({**counts.model_dump(mode="json"), "problems": [str(problem) for problem in problems]}, indent=2)
        )
        return
    click.echo(f"{found.name}: {found.layout} at {found.root}; split: {found.split_from}")
    per_image = counts.labels_per_image
    click.echo("images: " + ", ".join(f"{split} {number}" for split, number in counts.images.items()))
    click.echo(f"labels: {counts.classes}; per image {per_image.mean:.2f} ({per_image.min} to {per_image.max})\n")
    rows = [[name, *(str(counts.counts[split][name]) for split in found.splits)] for name in found.classes]
    click.echo(table(["label", *found.splits], rows))
    click.echo(f"\n{len(problems)} problems" if problems else "\nno problems")
    for problem in problems:
        click.echo(f"  {problem}")


@click.command()
@click.argument("kind", type=click.Choice(["recipes", "targets", "methods", "models", "layouts"]))
def ls(kind: str) -> None:
    """List what can be chosen by name."""
    click.echo(table(*_LISTS[kind]()))


def _recipes() -> tuple[list[str], list[list[str]]]:
    from mlkdc.recipe import load_recipe, shipped_recipes

    loaded = [(name, load_recipe(name)) for name in shipped_recipes()]
    rows = [[name, recipe.student.model, recipe.distill.method, recipe.description] for name, recipe in loaded]
    return ["recipe", "student", "method", "what"], rows


def _targets() -> tuple[list[str], list[list[str]]]:
    from mlkdc.runtime.targets import load_target, target_names

    loaded = [(name, load_target(name)) for name in target_names()]
    return ["target", "precisions", "what"], [[n, ", ".join(t.precisions), t.description] for n, t in loaded]


def _methods() -> tuple[list[str], list[list[str]]]:
    from mlkdc.losses import METHODS, make_objective
    from mlkdc.recipe import Distill

    rows = []
    for name, method in METHODS.items():
        terms = " ".join(f"{term}={weight:g}" for term, weight in method.weights.items())
        needs = " ".join(sorted(make_objective(Distill(method=name)).needs)) or "-"
        rows.append([name, needs, terms, method.paper, method.summary])
    return ["method", "needs", "terms", "paper", "what"], rows


def _models() -> tuple[list[str], list[list[str]]]:
    from mlkdc.models import STUDENTS, model_names

    students = [[name, "student"] for name in STUDENTS]
    return ["model", "kind"], students + [[name, "any"] for name in model_names() if name not in STUDENTS]


def _layouts() -> tuple[list[str], list[list[str]]]:
    from mlkdc.data import LAYOUTS

    return ["layout", "what"], [[name, layout.summary] for name, layout in LAYOUTS.items()]


_LISTS = {
    "recipes": _recipes,
    "targets": _targets,
    "methods": _methods,
    "models": _models,
    "layouts": _layouts,
}


@click.command()
@click.argument("recipe")
@click.argument("to", type=click.Path(path_type=Path), default=Path())
def cp(recipe: str, to: Path) -> None:
    """Copy a shipped recipe, with what it extends written out, to edit it."""
    from mlkdc.recipe import find_recipe, read_yaml
    from mlkdc.resources import write_atomic

    source = find_recipe(recipe)
    target = to / source.name if to.is_dir() else to
    if target.exists():
        raise UsageError(f"{target} exists; name another file: `mlkdc cp {recipe} my.yaml`")
    import yaml

    text = f"# a copy of the shipped recipe {recipe}\n" + yaml.safe_dump(read_yaml(source), sort_keys=False)
    write_atomic(target, lambda temporary: temporary.write_text(text))
    click.echo(str(target))


@click.command()
@click.argument("recipe")
@set_option
def validate(recipe: str, settings: tuple[str, ...]) -> None:
    """Check a recipe completely: keys, types, names of models, methods and targets."""
    from mlkdc.commands.pipeline import check_recipe
    from mlkdc.recipe import load_recipe

    loaded = load_recipe(recipe, list(settings))
    check_recipe(loaded)
    click.echo(loaded.to_yaml().rstrip())
    say(f"{recipe}: valid")


@click.command()
@click.option("--json", "as_json", is_flag=True)
def doctor(as_json: bool) -> None:
    """What this machine can do: versions, targets ready or missing, how to install them."""
    from mlkdc.commands.doctor import check_machine

    found = check_machine()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    machine = found["machine"]
    told = [machine["cpu"], f"{machine['cores']} cores"]
    told += [] if machine["vnni"] is None else ["VNNI" if machine["vnni"] else "no VNNI"]
    told += [] if machine["memory_gib"] is None else [f"{machine['memory_gib']:.0f} GiB"]
    click.echo(", ".join([*told, machine["system"], machine["device"]]))
    click.echo("  ".join(f"{name} {version}" for name, version in found["versions"].items()) + "\n")
    keys = ("target", "state", "precisions", "here", "versions", "install")
    rows = [[item[key] for key in keys] for item in found["targets"]]
    click.echo(table(["target", "state", "precisions", "on this machine", "versions", "to install"], rows))
