"""Lists of labels in a cell of a table, as Python, JSON, numpy or Postgres write them, and flags by label."""

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

    Of an object of flags, those that are set.

    Raises:
        UsageError: it is no list, one of them is a list itself, or an object holds something else than flags.
    """
    if not is_list(cell):
        raise UsageError(f"expected a list of labels, as in all other cells, got {cell[:80]!r}")
    try:
        values = json.loads(cell)
    except ValueError:
        values = _literal(cell)
    except RecursionError:
        raise UsageError(f"expected a list of labels, got {cell[:80]!r}, nested too deeply") from None
    if values is None:
        inner = cell[1:-1]
        values = inner.split(",") if inner.strip() else []
    if isinstance(values, dict):
        return _set_flags(cell, values)
    labels = []
    for value in values:
        if isinstance(value, (list, tuple, dict, set)):
            raise UsageError(f"expected a list of labels, got {cell[:80]!r}")
        labels.append(str(value).strip().strip("'\""))
    return labels


def _set_flags(cell: str, flags: dict[object, object]) -> list[str]:
    """``{"cat": 1, "dog": 0}`` has the label cat; of scores nobody knows the threshold."""
    for value in flags.values():
        if value not in (0, 1):
            raise UsageError(f"expected a list of labels, or an object of labels with 0 or 1, got {cell[:80]!r}")
    return [str(name).strip() for name, value in flags.items() if value]


def _numbers(inner: str) -> Sequence[object] | None:
    """Numbers without commas, as numpy writes them: ``[1. 0. 0.]``."""
    words = inner.split()
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _literal(cell: str) -> Sequence[object] | dict[object, object] | None:
    # numpy writes no commas, and Python would join neighboring strings.
    apart = re.sub(r"(?<=['\"])\s+(?=['\"])", ", ", cell)
    try:
        value = ast.literal_eval(apart)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # all that it documents
        return _numbers(cell[1:-1])
    if isinstance(value, set):
        return sorted(map(str, value))
    if isinstance(value, dict):
        return value
    if isinstance(value, (list, tuple)):
        return list(value)
    return [value]
