"""What can be shipped: one YAML file per target among the shipped files in ``export``."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from mlkdc.errors import UsageError, nearest
from mlkdc.records.base import Record, faults
from mlkdc.records.manifest import Dtype, TensorLayout
from mlkdc.records.parity import Tolerance
from mlkdc.resources import shipped
from mlkdc.runtime import cuda
from mlkdc.runtime.system import vnni


class Target(Record):
    """What to ship, and how equal it must be."""

    name: str
    description: str
    format: str = Field(description="name of the exporter")
    runtime: str = Field(description="name of the runtime that loads it")
    extra: str = Field(description="the pip extra that brings what an export needs")
    packages: tuple[str, ...] = Field(min_length=1, description="what an export needs; a|b: one of the two")
    runtime_packages: tuple[str, ...] = Field(min_length=1, description="what running an artifact needs; a|b as above")
    glibc: str | None = Field(None, description="the oldest for which its runtime has wheels for Linux on Arm")
    gpu_packages: tuple[str, ...] = Field((), description="those of them that do nothing without an NVIDIA GPU")
    opset: int | None = Field(None, description="of formats that have one")
    layout: TensorLayout = Field("NCHW", description="of the input, as the runtime's users expect it")
    dynamic: bool = Field(False, description="whether any batch size can be exported")
    dtypes: tuple[Dtype, ...] = Field(("float32", "uint8"), min_length=1, description="of the pixels")
    reduce_range: bool = Field(
        False, description="whether int8 weights take half of their range, for x86 processors without VNNI"
    )
    slowness: int = Field(1, ge=1, description="of its converter, to order several exports by; 1 is fast")
    half_range_steps: float = Field(
        127, description="how many steps the largest weight then takes, as this target's quantizer rounds"
    )
    half_range_depthwise: bool = Field(True, description="whether this holds for depthwise convolutions too")
    proxy: str | None = Field(
        None,
        description="the runtime to compare with where the target's cannot run; it loads a file of the same artifact",
    )
    unverified: str = Field("", description="what mlkdc's authors could not run, recorded in the manifest")
    precisions: dict[str, Tolerance] = Field(min_length=1, description="the first is the default")

    @property
    def default_precision(self) -> str:
        """The first one."""
        return next(iter(self.precisions))

    def tolerance(self, precision: str) -> Tolerance:
        """The tolerance of one precision.

        Raises:
            UsageError: the target has no such precision; the message gives those it has.
        """
        if precision not in self.precisions:
            valid = nearest(precision, self.precisions)
            raise UsageError(f"target {self.name} has no precision {precision!r}; {valid}")
        return self.precisions[precision]

    def missing(self, use: Literal["export", "run"] = "export") -> list[str]:
        """The packages that are needed to export, or to run an artifact, and are not installed."""
        absent = []
        for alternatives in self._needed(use):
            names = alternatives.split("|")
            if not any(self._usable(name) for name in names):
                absent.append(names[0])
        return absent

    def modules(self, use: Literal["export", "run"] = "export") -> list[str]:
        """What is imported of its packages, once none is missing."""
        modules = []
        for alternatives in self._needed(use):
            package = next(filter(self._usable, alternatives.split("|")))
            modules.append(module_name(package))
        return modules

    def _needed(self, use: Literal["export", "run"]) -> tuple[str, ...]:
        if use == "run":
            return self.runtime_packages
        return self.packages

    def _usable(self, package: str) -> bool:
        if find_spec(module_name(package)) is None:
            return False
        return package not in self.gpu_packages or cuda.available()

    def check_installed(self) -> None:
        """Raise UsageError, with the line that installs them, where packages for an export are missing."""
        if missing := self.missing():
            raise UsageError(f"target {self.name} needs {', '.join(missing)}, not installed; run: {self.install}")

    def check_range(self, precision: str, reduced: bool) -> None:
        """Raise UsageError where int8 weights would take a range whose sums this processor overflows."""
        if precision == "int8" and self.reduce_range and not reduced and vnni() is False:
            raise UsageError(
                f"target {self.name}: int8 weights in the full range cannot be compared on this processor, which has "
                "no VNNI: their sums overflow; export with --reduce-range (export.reduce_range: true), or on another"
            )

    @property
    def install(self) -> str:
        """The command that installs what an export needs."""
        return f"pip install 'mlkdc[{self.extra}]'"

    @property
    def install_runtime(self) -> str:
        """The command that installs what running an artifact needs."""
        return f"pip install 'mlkdc[{self.extra}-runtime]'"

    @property
    def distributions(self) -> list[str]:
        """All packages by name, alternatives included."""
        names: dict[str, None] = {}
        for alternatives in (*self.packages, *self.runtime_packages):
            names.update(dict.fromkeys(alternatives.split("|")))
        return list(names)


def module_name(package: str) -> str:
    """What is imported of a package."""
    return package.replace("-", "_")


def _files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(shipped("export").glob("*.yaml"))}


def target_names() -> list[str]:
    """The names of all shipped targets, sorted."""
    return list(_files())


def split_name(name: str) -> tuple[str, str]:
    """Target and precision of ``openvino-int8``; the target's default precision of ``openvino``.

    Raises:
        UsageError: no such target or precision.
    """
    targets = target_names()
    head, _, tail = name.rpartition("-")
    if name not in targets and head in targets:
        load_target(head).tolerance(tail)
        return head, tail
    return name, load_target(name).default_precision


def load_target(name: str) -> Target:
    """A shipped target by name.

    Raises:
        UsageError: no such target (gives the nearest names), or its file is wrong (names the faults).
    """
    files = _files()
    if name not in files:
        raise UsageError(f"unknown target {name!r}; {nearest(name, files)} (`mlkdc ls targets` lists them)")
    try:
        target = Target(**yaml.safe_load(files[name].read_text(encoding="utf-8")))
    except ValidationError as error:
        raise UsageError(f"{files[name]}: {faults(error)}") from None
    if target.name != name:
        raise UsageError(f"{files[name]}: expected name: {name}, got {target.name}")
    return target
