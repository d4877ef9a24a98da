"""Checkpoints: everything a stopped training needs to resume as if it had not stopped. And the trained weights."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from mlkdc.errors import UsageError
from mlkdc.resources import write_atomic


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` so that ``path`` always holds a complete checkpoint: the new one or the previous one.

    Raises:
        MlkdcError: the disk is full; the previous checkpoint is still there.
    """
    write_atomic(path, lambda temporary: _save(state, temporary))


def _save(state: dict[str, Any], path: Path) -> None:
    try:
        torch.save(state, path)
    except RuntimeError as error:  # torch's zip writer reports a full disk in its own words
        raise OSError("the disk is full, or files may not be so large") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without executing code from it.

    Raises:
        UsageError: not a checkpoint of ours.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch.load raise nearly anything
        raise UsageError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}); train again without --resume"
        ) from error
    return state


def save_weights(path: Path, model: nn.Module, metadata: dict[str, str]) -> None:
    """Write the model's state as safetensors with ``metadata`` in its header, atomically.

    Raises:
        MlkdcError: the disk is full or not writable.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}

    def write(temporary: Path) -> None:
        try:
            save_file(state, temporary, metadata={"format": "pt", **metadata})
        except SafetensorError as error:
            raise OSError(f"the weights could not be written ({error})") from error

    write_atomic(path, write)
