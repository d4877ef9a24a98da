"""Published tables: data files next to the recipes of their rows."""

from typing import Any

import yaml
from pydantic import field_validator

from mlkdc.errors import UsageError, nearest
from mlkdc.records.base import Record
from mlkdc.resources import shipped

FIGURES = "_published"


class PublishedTable(Record):
    """A published table.

    Args:
        name: ``paper/l2d-table1``; the recipes of its rows lie in the folder of that name.
        title: paper, number, subject.
        metrics: ours by the published name. ``AP(x)`` is class x's average precision, ``F1(CP,CR)`` the harmonic mean.
        methods: what a method or an ablation sets in the recipes of the rows, nested as they are.
        rows: by row and method (or ``teacher``), a figure in percent for each metric; None where it is not known.
    """

    name: str
    title: str
    metrics: dict[str, str]
    methods: dict[str, dict[str, Any]]
    rows: dict[str, dict[str, list[float | None]]]

    @field_validator("methods")
    @classmethod
    def _name_the_method(cls, methods: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """What is set for a method is that method, unless it says another one."""
        named = {}
        for method, values in methods.items():
            named[method] = {**values, "distill": {"method": method, **values.get("distill", {})}}
        return named


def table_names() -> list[str]:
    """The tables that can be reproduced."""
    root = shipped("recipes")
    return sorted(path.parent.relative_to(root).as_posix() for path in root.rglob(f"{FIGURES}.yaml"))


def load_table(name: str) -> PublishedTable:
    """A table by name.

    Raises:
        UsageError: there is none of that name; the message gives the nearest.
    """
    names = table_names()
    if name not in names:
        raise UsageError(f"unknown table {name!r}; {nearest(name, names)} (`mlkdc reproduce` lists them)")
    content = (shipped("recipes") / name / f"{FIGURES}.yaml").read_text(encoding="utf-8")
    return PublishedTable(name=name, **yaml.safe_load(content))
