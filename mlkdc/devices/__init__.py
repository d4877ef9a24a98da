"""Where models run: this machine, and others that are reached in some way."""

from mlkdc.devices.base import Device, DeviceLost, Load, Subject
from mlkdc.devices.local import LocalDevice

__all__ = ["Device", "DeviceLost", "Load", "LocalDevice", "Subject"]
