"""Devices by the name that a user gives them."""

from collections.abc import Callable
from pathlib import Path

from mlkdc.devices.adb import AdbDevice
from mlkdc.devices.adb.url import SCHEME as ADB
from mlkdc.devices.base import Device
from mlkdc.devices.browser import BrowserDevice, is_browser
from mlkdc.devices.local import LocalDevice
from mlkdc.devices.ssh import SshDevice
from mlkdc.errors import UsageError
from mlkdc.records.bench import LOCAL

FORMS = (
    "local, ssh://[user@]host[:port][?python=PATH], "
    "adb://[SERIAL][?python=PATH|benchmark_model=PATH|executor_runner=PATH], "
    "browser, browser://chromium or browser+adb://SERIAL"
)

Say = Callable[[str], None]


def _silent(_: str) -> None:
    """Nobody listens."""


def device_at(url: str, *, keep: bool = False, say: Say = _silent, web_runtime: Path | None = None) -> Device:
    """The device of that name, not connected yet.

    Args:
        url: ``local``, ``ssh://...``, ``adb://...``, ``browser...``.
        keep: leave what was put there.
        say: hears what its user has to do or to know, such as a page's address.
        web_runtime: a ``node_modules`` folder for a browser whose name has none.

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
    if is_browser(url):
        return BrowserDevice(url, say, web_runtime)
    raise UsageError(f"unknown device {url!r}; expected {FORMS}")
