"""Published tables: data files beside the recipes of their rows."""

from dataclasses import dataclass
from typing import Any

import yaml

from mlkdc.errors import UsageError, nearest
from mlkdc.resources import shipped

FIGURES = "_published"


@dataclass(frozen=True)
class Table:
    """A published table.

    Args:
        name: ``paper/l2d-table1``; the recipes of its rows lie in the folder of that name.
        title: paper, number, subject.
        metrics: ours by theirs. ``AP(x)`` is class x's average precision, ``F1(CP,CR)`` the harmonic mean of the two.
        methods: what a method or an ablation sets in the recipes of the rows, nested as they are.
        rows: by row and method (or ``teacher``), a figure in percent for each metric; None where it is not known.
    """

    name: str
    title: str
    metrics: dict[str, str]
    methods: dict[str, dict[str, Any]]
    rows: dict[str, dict[str, list[float | None]]]


def table_names() -> list[str]:
    """The tables that can be reproduced."""
    root = shipped("recipes")
    return sorted(path.parent.relative_to(root).as_posix() for path in root.rglob(f"{FIGURES}.yaml"))


def load_table(name: str) -> Table:
    """A table by name.

    Raises:
        UsageError: there is none of that name; the message gives the nearest.
    """
    if name not in table_names():
        raise UsageError(f"unknown table {name!r}; {nearest(name, table_names())} (`mlkdc reproduce` lists them)")
    content = yaml.safe_load((shipped("recipes") / name / f"{FIGURES}.yaml").read_text())
    methods = {}
    for method, values in content.pop("methods").items():
        methods[method] = {**values, "distill": {"method": method, **values.get("distill", {})}}
    return Table(name, methods=methods, **content)
