"""What is wrong with a recipe's keys and values: each fault by its dotted key, and what is left without them."""

import copy
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mlkdc.errors import nearest

# Keys on which the others of their section hang, and sections whose keys make sense together.
DECISIVE = ("kind", "method")
TOGETHER = ("terms", "options", "balance")


def faults_of(error: ValidationError, recipe: type[BaseModel]) -> list[str]:
    """One sentence per fault, with the nearest valid key where one was mistyped."""
    faults = []
    for item in error.errors():
        dotted = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            name = str(item["loc"][-1])
            faults.append(f"{dotted}: unknown key; {nearest(name, _keys_at(item['loc'][:-1], recipe))}")
        else:
            faults.append(f"{dotted}: {item['msg'][:1].lower()}{item['msg'][1:]}, got {_shown(item['input'])}")
    return faults


def without_faults(values: dict[str, Any], error: ValidationError) -> dict[str, Any]:
    """A copy without the faulty values, and without those that mean something else where one of these is missing."""
    left = copy.deepcopy(values)
    # From the end: an item that is taken out of a list moves those behind it.
    for item in reversed(error.errors()):
        _remove(left, item["loc"])
    return left


def _remove(holder: Any, keys: tuple[int | str, ...]) -> None:
    key, *inner = keys
    if not _has(holder, key):
        return
    goes_on = inner and _has(holder[key], inner[0])
    if goes_on and inner[0] not in DECISIVE and key not in TOGETHER:
        _remove(holder[key], tuple(inner))
    else:
        del holder[key]


def _has(holder: Any, key: int | str) -> bool:
    if isinstance(holder, list):
        return isinstance(key, int) and key < len(holder)
    return isinstance(holder, dict) and key in holder


def _keys_at(location: tuple[int | str, ...], recipe: type[BaseModel]) -> list[str]:
    """The valid keys of the section at a dotted key; empty where there is no section."""
    section = recipe
    for part in location:
        field = section.model_fields.get(str(part))
        inner = _section(field.annotation) if field is not None else None
        if inner is None:
            return []
        section = inner
    return list(section.model_fields)


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, also where it may be null."""
    for option in (annotation, *get_args(annotation)):
        # Python 3.10 takes list[int] for a class, but not as an argument of issubclass.
        if get_origin(option) is None and isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    return repr(value)
