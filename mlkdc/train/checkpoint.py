"""Checkpoints: everything a stopped training needs to resume as if it had not stopped. And the trained weights."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
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
    content = _in_order(save(state, metadata={"format": "pt", **metadata}))
    write_atomic(path, lambda temporary: temporary.write_bytes(content))


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its metadata sorted by key.

    The library writes them in another order each time, and equal weights would have another SHA-256.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]
