"""What is wrong with a recipe's keys and values: each fault by its dotted key."""

from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mlkdc.errors import nearest


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
