"""`mlkdc reproduce`."""

from pathlib import Path

import click

from mlkdc.cli.shared import command_line, data_option, make_progress, set_option, table


def _split(given: tuple[str, ...]) -> list[str]:
    return [part for item in given for part in item.split(",") if part]


@click.command()
@click.argument("name", metavar="[TABLE]", required=False)
@data_option
@click.option("--rows", multiple=True, metavar="PAIR[,PAIR...]", help="Default: all rows of the table.")
@click.option("--methods", multiple=True, metavar="NAME[,NAME...]", help="Default: all methods of the table.")
@set_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the students.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the runs; default: runs/TABLE.")
def reproduce(
    name: str | None,
    data_path: str | None,
    rows: tuple[str, ...],
    methods: tuple[str, ...],
    settings: tuple[str, ...],
    seed: int,
    out: Path | None,
) -> None:
    """Train the rows of a paper's table, and print its figures beside ours.

    It can be stopped and repeated: finished runs are taken as they are. Without TABLE, the tables are listed.
    """
    from mlkdc.commands.reproduce import comparison_rows, load_table, table_names
    from mlkdc.commands.reproduce import reproduce as train

    if name is None:
        tables = map(load_table, table_names())
        known = [[each.name, str(len(each.rows)), str(len(each.methods)), each.title] for each in tables]
        click.echo(table(["table", "rows", "methods", "what"], known))
        return
    result, path = train(
        name,
        data=data_path,
        rows=_split(rows),
        methods=_split(methods),
        settings=settings,
        seed=seed,
        out=out,
        command=command_line(),
        progress=make_progress(),
    )
    click.echo(table(*comparison_rows(result)))
    click.echo(f"\n{path}\n{path.with_suffix('.md')}")
