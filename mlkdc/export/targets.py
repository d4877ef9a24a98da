"""Export targets: one YAML file each among the shipped files in ``export``."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlkdc.errors import UsageError, nearest
from mlkdc.resources import shipped


class Tolerance(BaseModel):
    """How far an artefact's answers may be from the torch model's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    probability: float = Field(ge=0, le=1, description="largest difference of a probability")
    label_flips: float = Field(ge=0, le=100, description="per cent of the decisions (images x labels)")
    map: float = Field(ge=0, le=100, description="difference of mAP, in per cent points")


class Target(BaseModel):
    """What to ship, and how equal it must be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    format: str = Field(description="name of the exporter")
    runtime: str = Field(description="name of the runtime that loads it")
    extra: str = Field(description="the pip extra that brings what it needs")
    packages: list[str] = Field(min_length=1, description="what must be importable")
    opset: int | None = Field(None, description="of formats that have one")
    precisions: dict[str, Tolerance] = Field(min_length=1)

    def tolerance(self, precision: str) -> Tolerance:
        """The tolerance of one precision.

        Raises:
            UsageError: the target has no such precision; the message gives those it has.
        """
        if precision not in self.precisions:
            known = nearest(precision, self.precisions)
            raise UsageError(f"target {self.name} has no precision {precision!r}; {known}")
        return self.precisions[precision]


def _files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(shipped("export").glob("*.yaml"))}


def target_names() -> list[str]:
    """The names of all shipped targets, sorted."""
    return list(_files())


def load_target(name: str) -> Target:
    """A shipped target by name.

    Raises:
        UsageError: no such target (gives the nearest names), or its file is wrong (tells every fault).
    """
    files = _files()
    if name not in files:
        raise UsageError(f"unknown target {name!r}; {nearest(name, files)} (`mlkdc ls targets` lists them)")
    try:
        target = Target.model_validate(yaml.safe_load(files[name].read_text()))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise UsageError(f"{files[name]}: {'; '.join(faults)}") from None
    if target.name != name:
        raise UsageError(f"{files[name]}: expected name: {name}, got {target.name}")
    return target
