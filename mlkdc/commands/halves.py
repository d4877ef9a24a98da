"""Whether the making half is installed: training and exporting need torch, everything else does not."""

from importlib.util import find_spec

from mlkdc.errors import UsageError

#: What ``mlkdc[train]`` brings and the making half imports.
TRAINING = ("torch", "torchvision", "timm", "accelerate", "safetensors")
INSTALL = "pip install 'mlkdc[train]'"


def missing_training() -> list[str]:
    """The packages of the making half that are not installed here."""
    return [name for name in TRAINING if find_spec(name) is None]


def load_plugins() -> None:
    """Let other packages register their methods, which are torch code: where torch is missing there are none."""
    if not missing_training():
        from mlkdc.losses import TERMS

        TERMS.names()


def require_training(what: str, install: str = INSTALL) -> None:
    """Raise UsageError where the making half is missing.

    Args:
        what: the beginning of the sentence.
        install: the command that installs all that is needed.
    """
    missing = missing_training()
    if missing:
        raise UsageError(f"{what} needs {', '.join(missing)}, not installed here; run: {install}")
