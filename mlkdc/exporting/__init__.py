"""From trained runs to artifact folders, each compared with the trained model."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlkdc.exporting.artifact import export
    from mlkdc.exporting.request import ExportOptions, choices
    from mlkdc.exporting.several import export_several

__all__ = ["ExportOptions", "choices", "export", "export_several"]

_MODULES = {"ExportOptions": "request", "choices": "request", "export": "artifact", "export_several": "several"}


def __getattr__(name: str) -> object:
    # On first use: naming what to export must not wait for torch and timm.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
