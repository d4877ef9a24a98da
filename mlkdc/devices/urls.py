"""Devices by the name that a user gives them."""

from mlkdc.devices.base import Device
from mlkdc.devices.local import LocalDevice
from mlkdc.devices.ssh import SshDevice
from mlkdc.errors import UsageError
from mlkdc.records.bench import LOCAL

FORMS = "local or ssh://[user@]host[:port][?python=PATH]"


def device_at(url: str, *, keep: bool = False) -> Device:
    """The device of that name, not connected yet.

    Args:
        url: ``local``, ``ssh://...``.
        keep: leave what was put there.

    Raises:
        UsageError: there is no such kind, or the rest of the name is wrong.
    """
    kind = url.partition(":")[0]
    if url == LOCAL:
        return LocalDevice(keep=keep)
    if kind == "ssh":
        return SshDevice(url, keep=keep)
    raise UsageError(f"unknown device {url!r}; expected {FORMS}")
