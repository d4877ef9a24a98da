"""Trained runs to artefact folders that answer like the trained model, and prove it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlkdc.export.artefact import export_run

__all__ = ["export_run"]


def __getattr__(name: str) -> Any:
    # On first use: listing targets (mlkdc.export.targets) must not wait for torch and timm.
    if name == "export_run":
        from mlkdc.export.artefact import export_run

        return export_run
    raise AttributeError(name)
