"""The runs behind a table: planned, checked, trained or resumed."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlkdc.commands.reproduce.compare import compare, markdown
from mlkdc.commands.reproduce.tables import PublishedTable, load_table
from mlkdc.data import EMBEDDED
from mlkdc.data.layouts import LAYOUTS
from mlkdc.errors import Interrupted, RecipeError, UsageError, nearest
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe, load_recipe
from mlkdc.records.reproduction import Reproduction
from mlkdc.records.run import RUNS, Run
from mlkdc.resources import write_text
from mlkdc.train import distill
from mlkdc.train.checks import check_objective
from mlkdc.train.plan import with_absolute_paths

# Where a shipped recipe's data.path begins with this, it is a name and no path.
NOWHERE = "PATH/TO/"


@dataclass(frozen=True)
class Cell:
    """One training that a table reports: a method of a row."""

    row: str
    method: str
    recipe: Recipe
    folder: Path

    @property
    def run(self) -> Run:
        """The run folder, begun or not."""
        return Run(self.folder)

    @property
    def same(self) -> bool:
        """Whether the run in the folder is of this recipe."""
        return self.run.exists and self.run.recipe.hash() == with_absolute_paths(self.recipe).hash()


def reproduce(
    name: str,
    *,
    data: str | None = None,
    rows: Sequence[str] = (),
    methods: Sequence[str] = (),
    settings: Sequence[str] = (),
    seed: int = 0,
    out: Path | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> tuple[Reproduction, Path]:
    """Train what of a table is not trained yet, and compare.

    Every method of every row is a run folder below ``out``: a finished one is taken as it is, a stopped one is resumed,
    so that the same call can be repeated until all is done. Rows share the teachers they have in common.

    Args:
        name: of the table.
        data: the data set's folder.
        rows, methods: which of them; none = all.
        settings: ``key=value`` strings over every recipe.
        seed: of the students.
        out: where to; None is ``runs/`` and the table's name.
        command: recorded in the results.
        progress: hears of every step.

    Returns:
        The comparison, with the finished runs of other rows and methods that are in ``out`` with the same settings,
        and the JSON file it was written to; the Markdown table lies next to it.

    Raises:
        UsageError: an unknown name, no data, a folder that holds a run with other settings.
        MlkdcError: a training failed. What was finished stays.
        Interrupted: Ctrl-C.
    """
    table, progress = load_table(name), progress or Progress()
    _check_names_of(table, "row", rows, table.rows)
    _check_names_of(table, "method", methods, table.methods)
    out = out or RUNS / name.replace("/", "-")
    cells = _cells(table, data, settings, seed, out)
    chosen = []
    for cell in cells:
        if cell.row in (rows or table.rows) and cell.method in (methods or table.methods):
            chosen.append(cell)
    _check(table, chosen)
    for number, cell in enumerate(chosen, 1):
        progress.say(f"{number} of {len(chosen)}: {cell.row}, {cell.method}")
        _train(cell, command, progress)
    finished = {(cell.row, cell.method): cell.run for cell in cells if cell.same and cell.run.finished}
    result = Reproduction(
        table=table.name,
        title=table.title,
        metrics=table.metrics,
        command=command,
        seed=seed,
        settings=tuple(settings),
        rows=tuple(compare(table, finished)),
    )
    path = out / f"reproduced-seed{seed}.json"
    result.save_as(path)
    write_text(path.with_suffix(".md"), markdown(result))
    return result, path


def _check_names_of(table: PublishedTable, kind: str, names: Iterable[str], valid: Iterable[str]) -> None:
    for name in names:
        if name not in valid:
            raise UsageError(f"{table.name} has no {kind} {name!r}; {nearest(name, valid)}")


def _cells(table: PublishedTable, data: str | None, settings: Sequence[str], seed: int, out: Path) -> list[Cell]:
    overrides: dict[str, Any] = {"seed": seed, "data": {}}
    if data:
        overrides["data"] = {"path": data}
    cells = []
    for row in table.rows:
        for method, values in table.methods.items():
            # JSON is YAML; the user's settings come after the table's.
            changes = [f"{key}={json.dumps(value)}" for key, value in values.items()]
            recipe = load_recipe(f"{table.name}/{row}", [*changes, *settings], overrides)
            if recipe.data.path == EMBEDDED:
                recipe.data.layout = None
            cells.append(Cell(row, method, recipe, out / f"{row}-{method}-seed{seed}"))
    return cells


def _check(table: PublishedTable, cells: list[Cell]) -> None:
    """Everything that can be found wrong before the first of many trainings."""
    faults: list[str] = []
    for cell in cells:
        if cell.recipe.data.path.startswith(NOWHERE):
            raise UsageError(f"{table.name} is on {_published_data(table, cells)}; give its folder: --data PATH")
        try:
            check_objective(cell.recipe)
        except RecipeError as error:
            faults += error.faults
        if cell.run.exists and not cell.same:
            raise UsageError(
                f"{cell.folder} holds a run with other settings; use those, or start in another folder: --out ANOTHER"
            )
    if faults:
        raise RecipeError(list(dict.fromkeys(faults)), table.name)
    _check_one_data_set(table, cells)


def _data_sets(table: PublishedTable, cells: list[Cell]) -> dict[str, tuple[str, str | None]]:
    """By row: name and layout of the data set it was published on."""
    data_sets = {}
    for cell in cells:
        spec = load_recipe(f"{table.name}/{cell.row}").data
        data_sets[cell.row] = (spec.path.removeprefix(NOWHERE), spec.layout)
    return data_sets


def _published_data(table: PublishedTable, cells: list[Cell]) -> str:
    described = []
    for name, layout in dict.fromkeys(_data_sets(table, cells).values()):
        if layout:
            described.append(f"{name} ({LAYOUTS.get(layout).summary})")
    return " and on ".join(described)


def _check_one_data_set(table: PublishedTable, cells: list[Cell]) -> None:
    if all(cell.recipe.data.path == EMBEDDED for cell in cells):
        return
    data_sets = _data_sets(table, cells)
    if len(set(data_sets.values())) > 1:
        rows = "; ".join(f"{row} on {name}" for row, (name, _) in data_sets.items())
        raise UsageError(f"{table.name} is on several data sets; choose the rows of one with --rows: {rows}")


def _train(cell: Cell, command: str, progress: Progress) -> None:
    try:
        if cell.run.exists:
            distill(None, resume=cell.folder, progress=progress)
        else:
            distill(cell.recipe, out=cell.folder, command=command, progress=progress)
    except Interrupted:
        raise Interrupted("stopped; completed epochs are kept: repeat the same command to resume") from None
