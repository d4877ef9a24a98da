"""Rows that another tool measured, from its file: labeled, on a device of their own, and in no speedup."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from mlkdc.errors import UsageError
from mlkdc.records.base import faults, read_mapping
from mlkdc.records.bench import BenchFile, DeviceInfo, LatencyRow, RowTiming, Turn
from mlkdc.records.machine import Machine

QAI_HUB = "qai-hub"
REMEDY = "save what `download_profile()` of a finished profile job returns"
NOTE = "measured by another tool and imported; mlkdc saw neither what else the device did nor its answers"

_Microseconds = Annotated[float, Field(gt=0, lt=1e10)]
_Bytes = Annotated[float, Field(ge=0, lt=1e15)]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"expected words, got {text!r}")
    return text


#: What is shown in a terminal.
_Words = Annotated[str, AfterValidator(_printable)]


class _Summary(BaseModel):
    """Microseconds and bytes. The estimated time is that of the fastest call, not a typical one's."""

    estimated_inference_time: _Microseconds
    all_inference_times: list[_Microseconds] = Field(default_factory=list)
    first_load_time: _Microseconds | None = None
    inference_memory_peak_range: tuple[_Bytes, _Bytes] | None = None
    estimated_inference_peak_memory: _Bytes | None = None


class _Layer(BaseModel):
    compute_unit: _Words


class _Device(BaseModel):
    name: _Words
    os: _Words | None = None


class _Profile(BaseModel):
    """What `download_profile()` returns; a job's own JSON may name the device as well."""

    execution_summary: _Summary
    execution_detail: list[_Layer] = Field(default_factory=list)
    device: _Device | _Words | None = None


#: From the file, and the names of row and device that the user gave, to the row and its device.
Reader = Callable[[Path, str | None, str | None], tuple[LatencyRow, DeviceInfo]]


def with_import(
    figures: BenchFile, tool: str, path: Path, *, name: str | None = None, device: str | None = None
) -> BenchFile:
    """The same with one more row; an earlier import of that name on that device is replaced.

    Args:
        figures: measured so far.
        tool: that wrote the file: ``qai-hub``.
        path: of the file.
        name: of the row; None = the file's.
        device: None = as the file says.

    Raises:
        UsageError: another tool, or not a file of it; or the device is not known.
    """
    if tool not in READERS:
        raise UsageError(f"files of {tool!r} cannot be imported; expected {', '.join(READERS)}")
    row, info = READERS[tool](path, name, device)
    key = f"{tool}: {info.url}"
    row = row.model_copy(update={"device": key})
    kept = [other for other in figures.rows if (other.name, other.device) != (row.name, key)]
    return figures.model_copy(update={"devices": {**figures.devices, key: info}, "rows": (*kept, row)})


def with_imports_of(figures: BenchFile, earlier: BenchFile) -> BenchFile:
    """The same with the rows of earlier figures that another tool measured."""
    rows = tuple(row for row in earlier.rows if row.imported_from)
    names = {row.device for row in rows}
    devices = {name: info for name, info in earlier.devices.items() if name in names}
    return figures.model_copy(update={"devices": {**figures.devices, **devices}, "rows": (*figures.rows, *rows)})


def _of_qai_hub(path: Path, name: str | None, device: str | None) -> tuple[LatencyRow, DeviceInfo]:
    """One profile of Qualcomm AI Hub."""
    profile = _read_profile(path)
    summary, units = profile.execution_summary, _units(profile)
    found = profile.device
    if isinstance(found, str):
        found = _Device(name=found)
    if device is not None:
        found = _Device(name=device, os=found.os if found else None)
    if found is None:
        raise UsageError(f"{path} does not say which device it is of; name it: --device 'Samsung Galaxy S24'")
    turn = _turn(summary)
    why = f"{QAI_HUB} does not say whether other work disturbed it"
    if not summary.all_inference_times:
        why = f"{QAI_HUB} gave the time of the fastest call only"
    if units:
        listed = ", ".join(f"{count} on {unit}" for unit, count in units.items())
        why += f"; of its layers it ran {listed}"
    row = LatencyRow(
        name=name or path.name.removesuffix(".json"),
        threads=0,
        timing=RowTiming(
            median_ms=turn.median_ms,
            p90_ms=turn.p90_ms,
            min_ms=turn.min_ms,
            load_ms=turn.load_ms,
            peak_mib=turn.peak_mib,
            runs=turn.runs,
            passes=1,
            verdict="unknown",
            why=why,
        ),
        turns=(turn,),
        imported_from=QAI_HUB,
    )
    unit = max(units, key=units.__getitem__, default="unknown")
    machine = Machine(cpu=found.name, cores=None, system=found.os or "unknown", device=unit)
    return row, DeviceInfo(url=found.name, machine=machine, notes=(NOTE,))


def _read_profile(path: Path) -> _Profile:
    values = read_mapping(path, REMEDY)
    if "execution_summary" not in values:
        raise UsageError(f"{path} is not a profile of {QAI_HUB}: it has no execution_summary; {REMEDY}")
    try:
        return _Profile.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{path}: {faults(error)}; {REMEDY}") from None


def _units(profile: _Profile) -> dict[str, int]:
    """How many layers ran on each compute unit, the most first."""
    counts: dict[str, int] = {}
    for layer in profile.execution_detail:
        counts[layer.compute_unit] = counts.get(layer.compute_unit, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _turn(summary: _Summary) -> Turn:
    """One process, of which the calls are known, or the fastest alone."""
    times = summary.all_inference_times or [summary.estimated_inference_time]
    middle, p90 = np.percentile(times, [50, 90]) / 1000
    peak_bytes = summary.estimated_inference_peak_memory
    if summary.inference_memory_peak_range is not None:
        peak_bytes = summary.inference_memory_peak_range[1]
    return Turn(
        median_ms=float(middle),
        p90_ms=float(p90),
        min_ms=min(times) / 1000,
        load_ms=summary.first_load_time / 1000 if summary.first_load_time else None,
        runs=len(times),
        # How it was warmed up is not said.
        warmup_runs=0,
        settled=False,
        peak_mib=peak_bytes / 2**20 if peak_bytes else None,
        samples_us=tuple(max(1, round(time)) for time in summary.all_inference_times),
    )


READERS: dict[str, Reader] = {QAI_HUB: _of_qai_hub}
