"""What this machine can do: `mlkdc doctor`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from mlkdc.agent.process import run_python
from mlkdc.commands.halves import INSTALL, TRAINING, missing_training
from mlkdc.devices.bootstrap import WITHOUT_CURRENT_FOLDER
from mlkdc.errors import MlkdcError
from mlkdc.records.base import Record
from mlkdc.records.machine import Machine
from mlkdc.runtime.base import RUNTIMES
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import usable_cores, versions
from mlkdc.runtime.targets import Target, load_target, target_names

TIMEOUT_SECONDS = 300
READY = "ready"
Use = Literal["export", "run"]


class TargetState(Record):
    """What can be done for one target here.

    Args:
        export: ``ready``, or what is missing or broken.
        run: the same, for running an artifact; ``no: needs macOS`` where this machine never can.
        install: what to run to have what is missing; empty where nothing is.
    """

    target: str
    precisions: tuple[str, ...]
    export: str
    run: str
    versions: dict[str, str]
    install: str


class MachineReport(Record):
    """The machine, the versions of what is installed, and what each target can do here."""

    machine: Machine
    versions: dict[str, str]
    training: str
    targets: tuple[TargetState, ...]


Imports = Callable[[list[str]], str | None]


def check_machine(imports: Imports | None = None) -> MachineReport:
    """Look at this machine.

    Args:
        imports: whether these modules can be imported: None, or what is wrong; None = try it, in another process.
    """
    imports = imports or import_failure
    targets = [load_target(name) for name in target_names()]
    # Some packages take seconds to import: several targets at a time, each in a separate process.
    with ThreadPoolExecutor(usable_cores()) as pool:
        states = list(pool.map(lambda target: _state(target, imports), targets))
    training = READY
    if missing := missing_training():
        training = f"missing {', '.join(missing)}; run: {INSTALL}"
    return MachineReport(
        machine=machine(),
        versions=versions(("mlkdc", *TRAINING)),
        training=training,
        targets=tuple(states),
    )


def _state(target: Target, imports: Imports) -> TargetState:
    export_fault = _fault(target, "export", imports)
    # What runs an artifact is among what exports it: where that can be imported, this can.
    run_fault = _fault(target, "run", imports) if export_fault else None
    run, install = run_fault or READY, ""
    if export_fault:
        install = target.install
    if run_fault:
        install = f"{target.install_runtime} (to run), {target.install} (to export)"
    if never := RUNTIMES.get(target.runtime).cannot_run():
        run = f"no: {never}"
    installed = versions(target.distributions)
    installed.pop("python")
    return TargetState(
        target=target.name,
        precisions=tuple(target.precisions),
        export=export_fault or READY,
        run=run,
        versions=installed,
        install=install,
    )


def _fault(target: Target, use: Use, imports: Imports) -> str | None:
    """Which packages are missing, or what Python says when it cannot import them."""
    missing = target.missing(use)
    if use == "export":
        missing = [*missing_training(), *missing]
    if missing:
        return f"missing {', '.join(missing)}"
    return imports(target.modules(use))


def import_failure(modules: list[str]) -> str | None:
    """Import modules in another process; what is wrong in one clause, or None."""
    # OpenVINO reports its import over the network unless this package is missing.
    code = f"{WITHOUT_CURRENT_FOLDER}; sys.modules['openvino_telemetry'] = None; import {', '.join(modules)}"
    try:
        done = run_python(["-c", code], timeout_seconds=TIMEOUT_SECONDS)
    except MlkdcError as error:
        return f"broken: {error}"
    if done.failure is None:
        return None
    return f"broken: {done.failure}"
