"""Trained runs to artifact folders that answer like the trained model, and prove it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlkdc.exporting.builder import export_run
    from mlkdc.exporting.several import choices, export_several

__all__ = ["choices", "export_run", "export_several"]


def __getattr__(name: str) -> Any:
    # On first use: listing targets (mlkdc.runtime.targets) must not wait for torch and timm.
    if name in __all__:
        return getattr(import_module(f"{__name__}.{'builder' if name == 'export_run' else 'several'}"), name)
    raise AttributeError(name)
