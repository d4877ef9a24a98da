"""Distill, re-parameterize, export and measure multi-label image models for devices.

What a program calls is offered here, and imported when it is first used: importing this package loads neither torch nor
numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlkdc.commands.evaluate import evaluate
    from mlkdc.commands.predict import predict
    from mlkdc.data import open_data
    from mlkdc.exporting import export
    from mlkdc.recipe import load_recipe
    from mlkdc.records.run import load_run
    from mlkdc.runtime import open_artifact
    from mlkdc.train import distill

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "distill",
    "evaluate",
    "export",
    "load_recipe",
    "load_run",
    "open_artifact",
    "open_data",
    "predict",
]

_HOMES = {
    "distill": "mlkdc.train",
    "evaluate": "mlkdc.commands.evaluate",
    "export": "mlkdc.exporting",
    "load_recipe": "mlkdc.recipe",
    "load_run": "mlkdc.records.run",
    "open_artifact": "mlkdc.runtime",
    "open_data": "mlkdc.data",
    "predict": "mlkdc.commands.predict",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
