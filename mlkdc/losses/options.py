"""A loss term's options: a small model next to its class, and what is said about a wrong value."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal, TypeAlias, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mlkdc.errors import nearest

OptionValue: TypeAlias = float | bool | str


class TermOptions(BaseModel):
    """The options of a loss term; a term that has some declares a subclass with one field for each.

    Fields are ``float``, ``int``, ``bool`` or a ``Literal`` of strings, with a default, a description, and their range
    in ``Field(gt=, ge=, lt=, le=)``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    RENAMED: ClassVar[Mapping[str, str]] = {}
    """New names of options by those they had in earlier versions."""

    @field_validator("*", mode="before")
    @classmethod
    def _plain_number(cls, value: object, info: ValidationInfo) -> object:
        assert info.field_name is not None
        # To YAML 1.1, 2e-1 is text.
        if isinstance(value, str) and cls.model_fields[info.field_name].annotation in (int, float):
            value = _number(value)
        # A recipe holds every number as a float, and a strict `int` takes none.
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return value


def _number(text: str) -> float | str:
    """The finite number that a text is, else the text."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def option_faults(model: type[TermOptions], error: ValidationError, term: str) -> list[str]:
    """What is wrong, one sentence for each value, starting with its key in a recipe."""
    return [_fault(model, item, f"distill.options.{term}") for item in error.errors()]


def _fault(model: type[TermOptions], item: ErrorDetails, key: str) -> str:
    option = ".".join(map(str, item["loc"]))
    key = f"{key}.{option}"
    if item["type"] != "extra_forbidden":
        return f"{key}: expected {_expected(model.model_fields.get(option)) or item['msg']}, got {item['input']!r}"
    if option in model.RENAMED:
        return f"{key}: this option is called {model.RENAMED[option]} now"
    if not model.model_fields:
        return f"{key}: unknown option; the term has none"
    return f"{key}: unknown option; {nearest(option, model.model_fields)}"


_KINDS: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a finite number"}


def _expected(field: FieldInfo | None) -> str:
    """A field's values in words; empty for a type that has none here."""
    if field is None:
        return ""
    if get_origin(field.annotation) is Literal:
        return " or ".join(get_args(field.annotation))
    kind = _KINDS.get(field.annotation, "")
    limits = " and ".join(_limits(field))
    return f"{kind} {limits}".strip()


def _limits(field: FieldInfo) -> list[str]:
    limits = []
    for limit in field.metadata:
        match limit:
            case Gt():
                limits.append(f"above {limit.gt}")
            case Ge():
                limits.append(f"of at least {limit.ge}")
            case Lt():
                limits.append(f"below {limit.lt}")
            case Le():
                limits.append(f"at most {limit.le}")
    return limits
