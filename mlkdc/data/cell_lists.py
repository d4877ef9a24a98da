"""Lists of labels in a cell of a table, as Python, JSON, numpy or Postgres write them."""

import ast
import json
import re
from collections.abc import Sequence

from mlkdc.errors import UsageError

_BRACKETS = {"[": "]", "(": ")", "{": "}"}


def is_list(cell: str) -> bool:
    """Whether a cell that is not empty begins and ends as a list."""
    return _BRACKETS.get(cell[0]) == cell[-1]


def items(cell: str) -> list[str]:
    """The items of a list.

    Raises:
        UsageError: one of them is a list itself.
    """
    try:
        values = json.loads(cell)
    except ValueError:
        values = _literal(cell)
    if values is None:
        inner = cell[1:-1]
        values = inner.split(",") if inner.strip() else []
    labels = []
    for value in values:
        if isinstance(value, (list, tuple, dict, set)):
            raise UsageError(f"expected a list of labels, got {cell[:80]!r}")
        labels.append(str(value).strip().strip("'\""))
    return labels


def _literal(cell: str) -> Sequence[object] | None:
    # numpy writes no commas, and Python would join neighboring strings.
    apart = re.sub(r"(?<=['\"])\s+(?=['\"])", ", ", cell)
    try:
        value = ast.literal_eval(apart)
    except (ValueError, SyntaxError):
        return None
    if isinstance(value, set):
        return sorted(map(str, value))
    if isinstance(value, (list, tuple)):
        return list(value)
    return [value]
