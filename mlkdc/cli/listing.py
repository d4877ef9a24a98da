"""`mlkdc ls`: what can be chosen by name."""

from collections.abc import Callable
from importlib.metadata import entry_points

import click

from mlkdc.cli.shared import examples, say, show
from mlkdc.errors import UsageError
from mlkdc.tables import Table


@click.command(
    short_help="List recipes, targets, methods, models or layouts.",
    epilog=examples("mlkdc ls recipes", "mlkdc ls models mobilenet", "mlkdc ls methods --long"),
)
@click.argument("kind", type=click.Choice(["recipes", "targets", "methods", "models", "layouts"]))
@click.argument("text", required=False, default="", metavar="[FILTER]")
@click.option("--long", is_flag=True, help="All columns, and all models of timm and torchvision.")
def ls(kind: str, text: str, long: bool) -> None:
    """List what can be chosen by name; FILTER keeps the names that contain it."""
    head, rows = _LISTS[kind](text.lower(), long)
    rows = [row for row in rows if text.lower() in row[0].lower()]
    if not rows:
        raise UsageError(f"no name of {kind} contains {text!r}; `mlkdc ls {kind}` lists them")
    show(Table(head, rows, "l" * len(head)))


_YES_NO = {True: "yes", False: "no"}

Listing = tuple[list[str], list[list[str]]]


def _recipes(text: str, long: bool) -> Listing:
    from mlkdc.recipe import load_recipe, shipped_recipes

    rows = []
    for name in shipped_recipes():
        if text in name:
            recipe = load_recipe(name)
            rows.append([name, recipe.student.model, recipe.distill.method, recipe.description])
    if long:
        return ["recipe", "student", "method", "description"], rows
    return ["recipe", "student", "method"], [row[:3] for row in rows]


def _targets(text: str, long: bool) -> Listing:
    from mlkdc.runtime.targets import load_target, target_names

    rows = []
    for name in target_names():
        target = load_target(name)
        row = [name, ", ".join(target.precisions), target.description]
        if long:
            row += [target.install, target.install_runtime]
        rows.append(row)
    head = ["target", "precisions", "description"]
    if long:
        head += ["to export", "to run"]
    return head, rows


def _methods(text: str, long: bool) -> Listing:
    from mlkdc.commands.halves import load_plugins
    from mlkdc.methods import GROUP, load_method, method_names

    if entry_points(group=GROUP):  # torch takes seconds to import, and is seldom needed here
        load_plugins()
    rows = []
    for name in method_names():
        method = load_method(name)
        row = [name, _YES_NO[method.teacher], method.summary]
        if long:
            terms = " ".join(f"{term}={weight:g}" for term, weight in method.terms.items())
            row += [terms, method.paper]
        rows.append(row)
    head = ["method", "teacher", "summary"]
    if long:
        head += ["terms and weights", "paper"]
    return head, rows


def _models(text: str, long: bool) -> Listing:
    from mlkdc.commands.halves import INSTALL, missing_training
    from mlkdc.model_names import STUDENTS, short_names

    rows = [[name, "student"] for name in STUDENTS]
    rows += [[name, "short name"] for name in short_names() if name not in STUDENTS]
    if missing_training():
        say(f"the models of timm and torchvision are listed where these are installed: {INSTALL}")
        return ["model", "kind"], rows
    from mlkdc.models import model_names

    listed = {row[0] for row in rows}
    others = [[name, "timm or torchvision"] for name in model_names() if name not in listed]
    if long or text:
        return ["model", "kind"], rows + others
    say(f"and {len(others):,} more of timm and torchvision: `mlkdc ls models FILTER`, or --long")
    return ["model", "kind"], rows


def _layouts(text: str, long: bool) -> Listing:
    from mlkdc.data.layouts import LAYOUTS

    return ["layout", "files"], [[name, layout.summary] for name, layout in LAYOUTS.items()]


_LISTS: dict[str, Callable[[str, bool], Listing]] = {
    "recipes": _recipes,
    "targets": _targets,
    "methods": _methods,
    "models": _models,
    "layouts": _layouts,
}
