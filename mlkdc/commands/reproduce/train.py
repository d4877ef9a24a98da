"""The runs behind a table: planned, checked, trained or gone on with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlkdc.commands.reproduce.compare import Result, compare, markdown
from mlkdc.commands.reproduce.tables import Table, load_table
from mlkdc.data import EMBEDDED
from mlkdc.data.layouts import LAYOUTS
from mlkdc.errors import Interrupted, RecipeError, UsageError, nearest
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe, load_recipe
from mlkdc.records.run import Run
from mlkdc.resources import write_atomic, write_json
from mlkdc.train import distill
from mlkdc.train.plan import check_heads, check_names, with_absolute_paths

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
    def begun(self) -> bool:
        return (self.folder / "recipe.yaml").is_file()

    @property
    def same(self) -> bool:
        """Whether the run in the folder is of this recipe."""
        return self.begun and Run(self.folder).recipe.hash() == with_absolute_paths(self.recipe).hash()


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
) -> tuple[Result, Path]:
    """Train what of a table is not trained yet, and compare.

    Every method of every row is a run folder below ``out``: a finished one is taken as it is, a stopped one is gone
    on with, so that the same call can be repeated until all is done. Rows share the teachers they have in common.

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
        and the JSON file it was written to; a Markdown table is beside it.

    Raises:
        UsageError: an unknown name, no data, a folder with a run of other settings.
        MlkdcError: a training failed. What was finished stays.
        Interrupted: Ctrl-C.
    """
    table, progress = load_table(name), progress or Progress()
    for kind, given, known in (("row", rows, table.rows), ("method", methods, table.methods)):
        for item in given:
            if item not in known:
                raise UsageError(f"{name} has no {kind} {item!r}; {nearest(item, known)}")
    out = out or Path("runs") / name.replace("/", "-")
    cells = _cells(table, data, settings, seed, out)
    chosen = [cell for cell in cells if cell.row in (rows or table.rows) and cell.method in (methods or table.methods)]
    _check(table, chosen)
    for number, cell in enumerate(chosen, 1):
        progress.say(f"{number} of {len(chosen)}: {cell.row}, {cell.method}")
        _train(cell, command, progress)
    done = [cell for cell in cells if cell.same and Run(cell.folder).finished]
    result = compare(table, {(cell.row, cell.method): Run(cell.folder) for cell in done})
    result = {"format": 1, "command": command, "seed": seed, "settings": list(settings), **result}
    path = out / f"reproduced-seed{seed}.json"
    write_json(path, result)
    write_atomic(path.with_suffix(".md"), lambda temporary: temporary.write_text(markdown(result)))
    return result, path


def _cells(table: Table, data: str | None, settings: Sequence[str], seed: int, out: Path) -> list[Cell]:
    overrides: dict[str, Any] = {"seed": seed, "data": {"path": data} if data else {}}
    cells = []
    for row in table.rows:
        for method, values in table.methods.items():
            # JSON is YAML; the user's settings come after the table's.
            changes = [*(f"{key}={json.dumps(value)}" for key, value in values.items()), *settings]
            recipe = load_recipe(f"{table.name}/{row}", changes, overrides)
            if recipe.data.path == EMBEDDED:
                recipe.data.layout = None
            cells.append(Cell(row, method, recipe, out / f"{row}-{method}-seed{seed}"))
    return cells


def _check(table: Table, cells: list[Cell]) -> None:
    """Everything that can be found wrong before the first of many trainings."""
    homes = {cell.row: load_recipe(f"{table.name}/{cell.row}").data for cell in cells}
    names = {home.path.removeprefix(NOWHERE): home.layout for home in homes.values()}
    faults: list[str] = []
    for cell in cells:
        if cell.recipe.data.path.startswith(NOWHERE):
            raise UsageError(f"{table.name} is on {_choices(names)}; give its folder: --data PATH")
        try:
            check_heads(cell.recipe, check_names(cell.recipe))
        except RecipeError as error:
            faults += error.faults
        if cell.begun and not cell.same:
            raise UsageError(
                f"{cell.folder} holds a run of other settings; go on with those, or start anew elsewhere: --out ANOTHER"
            )
    if faults:
        raise RecipeError(list(dict.fromkeys(faults)), table.name)
    if len(names) > 1 and any(cell.recipe.data.path != EMBEDDED for cell in cells):
        rows = "; ".join(f"{row} on {home.path.removeprefix(NOWHERE)}" for row, home in homes.items())
        raise UsageError(f"{table.name} is on several data sets; choose the rows of one with --rows: {rows}")


def _choices(names: Mapping[str, str | None]) -> str:
    return " and on ".join(f"{name} ({LAYOUTS.get(layout).summary})" for name, layout in names.items() if layout)


def _train(cell: Cell, command: str, progress: Progress) -> None:
    try:
        if cell.begun:
            distill(None, resume=cell.folder, progress=progress)
        else:
            distill(cell.recipe, out=cell.folder, command=command, progress=progress)
    except Interrupted:
        raise Interrupted("stopped; whole epochs are kept: the same command goes on") from None
