"""Trained runs to artefact folders that answer like the trained model, and prove it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlkdc.export.artefact import export_run
    from mlkdc.export.several import choices, export_several

__all__ = ["choices", "export_run", "export_several"]


def __getattr__(name: str) -> Any:
    # On first use: listing targets (mlkdc.export.targets) must not wait for torch and timm.
    if name in __all__:
        return getattr(import_module(f"{__name__}.{'artefact' if name == 'export_run' else 'several'}"), name)
    raise AttributeError(name)
