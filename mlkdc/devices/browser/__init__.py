"""A browser as a device: mlkdc serves a page, which measures and reports."""

from mlkdc.devices.browser.address import is_browser
from mlkdc.devices.browser.device import BrowserDevice

__all__ = ["BrowserDevice", "is_browser"]
