"""An Android phone through the user's adb program."""

from mlkdc.devices.adb.device import AdbDevice

__all__ = ["AdbDevice"]
