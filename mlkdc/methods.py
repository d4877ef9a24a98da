"""Published methods: one YAML file each among the shipped recipes, in ``_methods``. Nothing here needs torch.

Methods of other packages come with terms, which are torch code: they are registered when :mod:`mlkdc.losses` fills its
list of terms.
"""

from functools import cache
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from mlkdc.errors import UsageError, nearest
from mlkdc.recipe import Form
from mlkdc.records.base import Record, faults
from mlkdc.resources import shipped

#: Entry points with which other packages bring methods.
GROUP = "mlkdc.methods"


class Method(Record):
    """A published method: a set of loss terms with their default weights."""

    name: str
    paper: str = Field(description="where it was published")
    summary: str = Field(pattern=r"^[^\n]+$", description="one line")
    terms: dict[str, float] = Field(min_length=1, description="default weight by term")
    form: Form = Field("reference", description="the form that the weights belong to, unless a recipe names another")
    teacher: bool = Field(description="whether any of its terms needs one")


_registered: dict[str, Method] = {}


def register_method(method: Method) -> None:
    """Add a method for as long as the process lives, as packages with methods do.

    Raises:
        UsageError: the name is taken.
    """
    if method.name in _registered or method.name in _files():
        raise UsageError(f"method {method.name!r} exists already; choose another name")
    _registered[method.name] = method


def method_names() -> list[str]:
    """The names of all methods, sorted."""
    return sorted([*_files(), *_registered])


def load_method(name: str) -> Method:
    """The method of that name.

    Raises:
        UsageError: no such method (the message gives the nearest names), or its file is wrong.
    """
    path = _files().get(name)
    if path is not None:
        return _read(path)
    if name not in _registered:
        raise UsageError(f"unknown method {name!r}; {nearest(name, method_names())} (`mlkdc ls methods` lists them)")
    return _registered[name]


def _files() -> dict[str, Path]:
    return {path.stem: path for path in shipped("recipes").glob("_methods/*.yaml")}


@cache
def _read(path: Path) -> Method:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        return Method(name=path.stem, **values)
    except ValidationError as error:
        raise UsageError(f"{path}: {faults(error)}") from None
