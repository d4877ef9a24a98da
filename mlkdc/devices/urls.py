"""Devices by the name that a user gives them."""

from mlkdc.devices.adb import AdbDevice
from mlkdc.devices.adb.url import SCHEME as ADB
from mlkdc.devices.base import Device
from mlkdc.devices.local import LocalDevice
from mlkdc.devices.ssh import SshDevice
from mlkdc.errors import UsageError
from mlkdc.records.bench import LOCAL

FORMS = (
    "local, ssh://[user@]host[:port][?python=PATH] or "
    "adb://[SERIAL][?python=PATH|benchmark_model=PATH|executor_runner=PATH]"
)


def device_at(url: str, *, keep: bool = False) -> Device:
    """The device of that name, not connected yet.

    Args:
        url: ``local``, ``ssh://...``, ``adb://...``.
        keep: leave what was put there.

    Raises:
        UsageError: there is no such kind, or the rest of the name is wrong.
    """
    kind = url.partition(":")[0]
    if url == LOCAL:
        return LocalDevice(keep=keep)
    if kind == "ssh":
        return SshDevice(url, keep=keep)
    if url.startswith(ADB):
        return AdbDevice(url, keep=keep)
    raise UsageError(f"unknown device {url!r}; expected {FORMS}")
