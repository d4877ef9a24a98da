"""`mlkdc reproduce`."""

from pathlib import Path

import click

from mlkdc.cli.shared import command_line, data_option, examples, set_option, show
from mlkdc.tables import Table


def _names(values: tuple[str, ...]) -> list[str]:
    """Repeated options, each of which may hold several names with commas between them."""
    names: list[str] = []
    for value in values:
        names += filter(None, value.split(","))
    return names


@click.command(
    short_help="Train a paper's table and compare.",
    epilog=examples(
        "mlkdc reproduce",
        "mlkdc reproduce paper/l2d-table1 --data COCO --methods l2d,mld",
    ),
)
@click.argument("name", metavar="[TABLE]", required=False)
@data_option
@click.option("--rows", multiple=True, metavar="PAIR[,PAIR...]", help="Default: all rows of the table.")
@click.option("--methods", multiple=True, metavar="NAME[,NAME...]", help="Default: all methods of the table.")
@set_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the students.")
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
    """Train the rows of a paper's table, and print its figures next to ours.

    It can be stopped and repeated: finished runs are not trained again. Without TABLE, the tables are listed.
    """
    from mlkdc.commands.reproduce import comparison_table, load_table, table_names

    if name is None:
        tables = [load_table(table_name) for table_name in table_names()]
        cells = [[table.name, str(len(table.rows)), str(len(table.methods)), table.title] for table in tables]
        show(Table(["table", "rows", "methods", "title"], cells, "lrrl"))
        return
    from mlkdc.commands.halves import require_training

    require_training("training a table")
    from mlkdc.cli.progress import Shown
    from mlkdc.commands.reproduce.train import reproduce as train

    result, path = train(
        name,
        data=data_path,
        rows=_names(rows),
        methods=_names(methods),
        settings=settings,
        seed=seed,
        out=out,
        command=command_line(),
        progress=Shown(),
    )
    show(comparison_table(result))
    click.echo(f"\n{path}\n{path.with_suffix('.md')}")
