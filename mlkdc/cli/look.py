"""`mlkdc data`, `cp`, `validate` and `doctor`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlkdc.cli.shared import examples, json_option, say, set_option, show
from mlkdc.errors import UsageError
from mlkdc.tables import Table

if TYPE_CHECKING:
    from mlkdc.records.machine import Machine


@click.command(
    short_help="Show what is in your images, and every problem.",
    epilog=examples("mlkdc data photos/", "mlkdc data annotations/instances_val2017.json --layout coco"),
)
@click.argument("path")
@click.option("--layout", help="Layout to read (`mlkdc ls layouts`), if several fit.")
@click.option("--separator", help="What joins labels in a table's cell: comma, blank, none, ...; default: detect.")
@click.option("--images", metavar="FOLDER", help="Folder of the images, where the paths do not lead to them.")
@json_option
def data(path: str, layout: str | None, separator: str | None, images: str | None, as_json: bool) -> None:
    """Show what mlkdc finds in your images: splits, labels, counts, every problem."""
    from mlkdc.data import open_data
    from mlkdc.data.check import inspect
    from mlkdc.data.summary import listed, summary
    from mlkdc.figures import counted

    tagged = open_data(path, layout=layout, separator=separator, images=images, few=True)
    inspection, counts = inspect(tagged), summary(tagged)
    problems = inspection.problems
    if as_json:
        values = counts.model_dump(mode="json")
        lines = [str(problem) for problem in problems]
        click.echo(json.dumps({**values, "modes": inspection.modes, "problems": lines}, indent=2))
        return
    per_image = counts.labels_per_image
    splits = ", ".join(f"{split} {number}" for split, number in counts.images.items())
    modes = ", ".join(f"{mode} {number}" for mode, number in inspection.modes.items())
    click.echo(f"{tagged.name}: {tagged.layout} at {tagged.root}; split: {tagged.split_from}")
    for note in tagged.notes:
        click.echo(f"note: {note}")
    click.echo(f"images: {splits}; modes: {modes or 'none'}")
    click.echo(f"labels: {counts.classes}; per image {per_image.mean:.2f} ({per_image.min} to {per_image.max})\n")
    rows = []
    for name in tagged.classes:
        rows.append([name, *(str(counts.counts[split][name]) for split in tagged.splits)])
    show(Table(["label", *tagged.splits], rows, "l" + "r" * len(tagged.splits)))
    click.echo(f"\n{counted(len(problems), 'problem')}" if problems else "\nno problems")
    for line in listed(problems):
        click.echo(f"  {line}")


@click.command(
    short_help="Copy a shipped recipe to edit it.",
    epilog=examples("mlkdc cp l2d-mobilenet", "mlkdc cp l2d-mobilenet my.yaml"),
)
@click.argument("recipe")
@click.argument("to", type=click.Path(path_type=Path), default=Path())
def cp(recipe: str, to: Path) -> None:
    """Copy a shipped recipe, with what it extends written out, to edit it."""
    from mlkdc.recipe import find_recipe, read_yaml
    from mlkdc.resources import write_text

    source = find_recipe(recipe)
    target = to
    if to.is_dir():
        target = to / source.name
    if target.exists():
        raise UsageError(f"{target} exists; name another file: `mlkdc cp {recipe} my.yaml`")
    import yaml

    text = yaml.safe_dump(read_yaml(source), sort_keys=False, allow_unicode=True)
    write_text(target, f"# a copy of the shipped recipe {recipe}\n{text}")
    click.echo(str(target))


@click.command(
    short_help="Check a recipe completely.",
    epilog=examples("mlkdc validate my.yaml", "mlkdc validate l2d-mobilenet --set train.epochs=20"),
)
@click.argument("recipe")
@set_option
def validate(recipe: str, settings: tuple[str, ...]) -> None:
    """Check a recipe completely: keys, types, names of models, methods and targets."""
    from mlkdc.commands.check import check_recipe, read_recipe

    loaded = read_recipe(recipe, settings)
    unchecked = check_recipe(loaded)
    click.echo(loaded.to_yaml().rstrip())
    say(f"{recipe}: valid")
    if unchecked:
        say(unchecked)


@click.command(
    short_help="Show what this machine can export and run.",
    epilog=examples("mlkdc doctor", "mlkdc doctor --device ssh://pi@kitchen", "mlkdc doctor --json"),
)
@click.option("--device", "url", metavar="DEVICE", help="Look at a device of `mlkdc bench` instead.")
@json_option
def doctor(url: str | None, as_json: bool) -> None:
    """Show what this machine can do: versions, which targets it can export and run, what to install."""
    from mlkdc.commands.doctor import check_machine

    if url is not None:
        _show_device(url, as_json)
        return
    report = check_machine()
    if as_json:
        click.echo(report.model_dump_json(indent=2))
        return
    click.echo(_machine_line(report.machine))
    click.echo("  ".join(f"{name} {version}" for name, version in report.versions.items()))
    click.echo(f"training: {report.training}\n")
    rows = [[state.target, state.export, state.run, ", ".join(state.precisions)] for state in report.targets]
    show(Table(["target", "export", "run here", "precisions"], rows, "llll"))
    installs = [f"  {state.target}: {state.install}" for state in report.targets if state.install]
    if installs:
        click.echo("\nto install what is missing:\n" + "\n".join(installs))


def _show_device(url: str, as_json: bool) -> None:
    from mlkdc.commands.device import check_device
    from mlkdc.figures import DASH

    report = check_device(url, say)
    if as_json:
        click.echo(report.model_dump_json(indent=2))
        return
    info = report.info
    click.echo(f"{info.url}: {_machine_line(info.machine)}")
    facts = [f"Python {info.python}" if info.python else "", info.libc or ""]
    if report.free_mib is not None:
        facts.append(f"{report.free_mib:,.0f} MiB free")
    click.echo("  ".join(fact for fact in facts if fact))
    rows = []
    for state in report.runtimes:
        rows.append([state.target, state.package, state.version or DASH, state.state])
    if rows:
        click.echo()
        show(Table(["target", "package", "version", "state"], rows, "llll"))
    for note in info.notes:
        click.echo(f"- {note}")
    installs = dict.fromkeys(state.install for state in report.runtimes if state.install)
    if installs:
        click.echo("\nto install what an artifact of yours needs, run there:")
        for line in installs:
            click.echo(f"  {line}")
    if report.then:
        click.echo(f"the device is then {report.then}")


def _machine_line(machine: "Machine") -> str:
    parts = [machine.cpu]
    if machine.cores is not None:
        parts.append(f"{machine.cores} cores")
    if machine.vnni is not None:
        parts.append("VNNI" if machine.vnni else "no VNNI")
    if machine.memory_gib is not None:
        parts.append(f"{machine.memory_gib:.0f} GiB")
    return ", ".join([*parts, machine.system, machine.device])
