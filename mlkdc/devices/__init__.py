"""Where models run: a device starts Python and holds files. The local machine is one of them."""

from mlkdc.devices.base import Completed, Device
from mlkdc.devices.local import LocalDevice

__all__ = ["Completed", "Device", "LocalDevice"]
