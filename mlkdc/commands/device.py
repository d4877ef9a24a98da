"""What a device can do: `mlkdc doctor --device`. It installs nothing."""

from collections.abc import Sequence

from mlkdc.agent.process import Completed
from mlkdc.commands.doctor import READY
from mlkdc.devices.agent import AgentDevice
from mlkdc.devices.base import DeviceLost
from mlkdc.devices.bootstrap import WITHOUT_CURRENT_FOLDER
from mlkdc.devices.urls import Say, device_at
from mlkdc.errors import MlkdcError
from mlkdc.records.base import Record
from mlkdc.records.bench import LOCAL, DeviceInfo
from mlkdc.runtime.system import version_numbers
from mlkdc.runtime.targets import Target, load_target, module_name, target_names

IMPORT_SECONDS = 120
MISSING = "missing"
INSTALL, BASE = "mlkdc.agent.install", "mlkdc.runtime.base"


class RuntimeState(Record):
    """One runtime on a device.

    Args:
        version: that is installed; None where it is not.
        state: ``ready``, ``missing``, or what is wrong.
        install: the line that installs it there; empty where nothing is missing, or nothing can be installed.
    """

    target: str
    package: str
    version: str | None
    state: str
    install: str = ""


class DeviceReport(Record):
    """A device that was reached.

    Args:
        free_mib: disk space for the agent and the artifacts; None where it is not known.
        runtimes: what can run there; empty for a device that is not measured through Python.
        then: its name once those lines were run, which install for another Python; empty where it stays the same.
    """

    info: DeviceInfo
    free_mib: float | None = None
    runtimes: tuple[RuntimeState, ...] = ()
    then: str = ""


def check_device(url: str, say: Say = lambda text: None) -> DeviceReport:
    """Connect to a device and look at it; ``say`` hears what its user has to do, such as opening a page.

    Raises:
        UsageError: it is not set up, or the name is wrong.
        DeviceLost: it cannot be reached.
    """
    with device_at(url, say=say) as device:
        info = device.open()
        if not isinstance(device, AgentDevice):
            return DeviceReport(info=info)
        states = [_numpy(device, info)]
        for name in target_names():
            states.append(_state(device, info, load_target(name)))
        states = _with_lines(device, states)
        python = ""
        if url != LOCAL and any(state.install for state in states):
            python = _printed(device, INSTALL, "print(environment_python())")
        then = f"{url.partition('?')[0]}?python={python}" if python else ""
        return DeviceReport(info=info, free_mib=device.free_mib, runtimes=tuple(states), then=then)


def _numpy(device: AgentDevice, info: DeviceInfo) -> RuntimeState:
    return _checked(device, info, "all", ["numpy"])


def _state(device: AgentDevice, info: DeviceInfo, target: Target) -> RuntimeState:
    alternatives = target.runtime_packages[0].split("|")
    if never := _never(device, target.runtime):
        return RuntimeState(target=target.name, package=alternatives[0], version=None, state=f"no: {never}")
    state = _checked(device, info, target.name, alternatives)
    if state.version is None and (why := _no_wheel(info, target)):
        return state.model_copy(update={"state": why})
    return state


def _with_lines(device: AgentDevice, states: Sequence[RuntimeState]) -> list[RuntimeState]:
    """What is missing with the line that installs it; all are asked for at once, as each start of Python takes time."""
    packages = tuple(state.package for state in states if state.state == MISSING)
    if not packages:
        return list(states)
    printed = _printed(device, INSTALL, f"print(*map(install_line, {packages!r}), sep='\\n')")
    lines = dict(zip(packages, printed.splitlines(), strict=False))
    found = []
    for state in states:
        install = lines.get(state.package, "") if state.state == MISSING else state.install
        found.append(state.model_copy(update={"install": install}))
    return found


def _never(device: AgentDevice, runtime: str) -> str:
    """Why the device can never run it, asked there; empty where it can."""
    return _printed(device, BASE, f"print(RUNTIMES.get({runtime!r}).cannot_run() or '')")


def _printed(device: AgentDevice, module: str, code: str) -> str:
    """What code that uses the agent's module prints there."""
    # NumPy may be missing, and backends only name it until they load a model.
    numpy = "from unittest.mock import MagicMock; sys.modules['numpy'] = MagicMock()"
    start = f"sys.path.insert(0, {device.archive!r}); {numpy}; from {module} import *"
    return _done(device, f"{start}; {code}").stdout.strip()


def _done(device: AgentDevice, code: str) -> Completed:
    """How code ended there; as a failure also where it took too long, so that the others are looked at."""
    try:
        return device.run(["-c", f"{WITHOUT_CURRENT_FOLDER}; {code}"], timeout_seconds=IMPORT_SECONDS)
    except DeviceLost:
        raise
    except MlkdcError as error:
        return Completed(1, "", str(error).removeprefix(f"{device.name}: "))


def _checked(device: AgentDevice, info: DeviceInfo, target: str, alternatives: Sequence[str]) -> RuntimeState:
    """The first alternative that is installed, imported there in a process of its own."""
    for package in alternatives:
        version = info.versions.get(package)
        if version is None:
            continue
        failure = _done(device, f"import {module_name(package)}").failure
        state = READY if failure is None else f"broken: {failure}"
        return RuntimeState(target=target, package=package, version=version, state=state)
    return RuntimeState(target=target, package=alternatives[0], version=None, state=MISSING)


def _no_wheel(info: DeviceInfo, target: Target) -> str | None:
    """Why a package index has nothing that fits an Arm board's C library."""
    machine = info.machine.system.rpartition(" ")[2]
    name, _, version = (info.libc or "").partition(" ")
    if machine != "aarch64" or name != "glibc" or target.glibc is None:
        return None
    if version_numbers(version) >= version_numbers(target.glibc):
        return None
    return f"no: its wheels need glibc {target.glibc}, this is {version}"
