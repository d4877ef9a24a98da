"""Export targets: one YAML file each among the shipped files in ``export``."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlkdc.errors import UsageError, nearest
from mlkdc.resources import shipped
from mlkdc.runtime import cuda
from mlkdc.runtime.machine import vnni


class Tolerance(BaseModel):
    """How far an artifact's answers may be from the torch model's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    probability: float = Field(ge=0, le=1, description="largest difference of a probability")
    label_flips: float = Field(ge=0, le=100, description="percent of the decisions (images x labels)")
    map: float = Field(ge=0, le=100, description="fall of mAP, in percent points")
    class_ap: float = Field(ge=0, le=100, description="fall of the worst class's AP, in percent points")


class Target(BaseModel):
    """What to ship, and how equal it must be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    format: str = Field(description="name of the exporter")
    runtime: str = Field(description="name of the runtime that loads it")
    extra: str = Field(description="the pip extra that brings what it needs")
    packages: list[str] = Field(min_length=1, description="what must be installed; a|b: one of the two")
    gpu_packages: list[str] = Field([], description="those of them that do nothing without an NVIDIA GPU")
    opset: int | None = Field(None, description="of formats that have one")
    layout: Literal["NCHW", "NHWC"] = Field("NCHW", description="of the input, as the runtime's users expect it")
    dynamic: bool = Field(False, description="whether a batch of any size can be asked for")
    dtypes: list[Literal["float32", "uint8"]] = Field(
        ["float32", "uint8"], min_length=1, description="what the pixels can be given as"
    )
    reduce_range: bool = Field(
        False, description="whether int8 weights take half of their range, for x86 processors without VNNI"
    )
    proxy: str | None = Field(
        None, description="the runtime that is compared where its own cannot run; it loads a file of the same artifact"
    )
    unverified: str = Field("", description="what mlkdc's authors could not run, told by the manifest")
    precisions: dict[str, Tolerance] = Field(min_length=1, description="the first is the default")

    def tolerance(self, precision: str) -> Tolerance:
        """The tolerance of one precision.

        Raises:
            UsageError: the target has no such precision; the message gives those it has.
        """
        if precision not in self.precisions:
            known = nearest(precision, self.precisions)
            raise UsageError(f"target {self.name} has no precision {precision!r}; {known}")
        return self.precisions[precision]

    def missing(self) -> list[str]:
        """The packages that must be installed and are not."""
        return [names.split("|")[0] for names in self.packages if not any(map(self._usable, names.split("|")))]

    def modules(self) -> list[str]:
        """What is imported of its packages, once none is missing."""
        chosen = [next(filter(self._usable, names.split("|"))) for names in self.packages]
        return [package.replace("-", "_") for package in chosen]

    def _usable(self, package: str) -> bool:
        installed = find_spec(package.replace("-", "_")) is not None
        return installed and (package not in self.gpu_packages or cuda.available())

    def check_installed(self) -> None:
        """Raise UsageError, with the line that installs them, where packages are missing."""
        if missing := self.missing():
            raise UsageError(f"target {self.name} needs {', '.join(missing)}, not installed; run: {self.install}")

    def check_range(self, precision: str, reduced: bool) -> None:
        """Raise UsageError where int8 weights would take a range that this processor cannot add up."""
        if precision == "int8" and self.reduce_range and not reduced and vnni() is False:
            raise UsageError(
                f"target {self.name}: int8 weights in the whole range cannot be compared on this processor, which has "
                "no VNNI: their sums overflow; export with --reduce-range (export.reduce_range: true), or on another"
            )

    @property
    def install(self) -> str:
        """The command that installs what the target needs."""
        return f"pip install 'mlkdc[{self.extra}]'"

    @property
    def distributions(self) -> list[str]:
        """All packages by name, alternatives included."""
        return [name for names in self.packages for name in names.split("|")]


def _files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(shipped("export").glob("*.yaml"))}


def target_names() -> list[str]:
    """The names of all shipped targets, sorted."""
    return list(_files())


def split_name(name: str) -> tuple[str, str]:
    """Target and precision of ``openvino-int8``; the target's first precision of ``openvino``.

    Raises:
        UsageError: no such target or precision.
    """
    head, _, tail = name.rpartition("-")
    if name not in _files() and head in _files():
        load_target(head).tolerance(tail)
        return head, tail
    return name, next(iter(load_target(name).precisions))


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
