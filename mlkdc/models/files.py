"""Tensors by name from the files that people have, always read without executing code."""

import argparse
import pathlib
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import safetensors
import torch
from numpy._core import multiarray
from safetensors.torch import load_file
from torch import Tensor

from mlkdc.errors import UsageError, first_line

#: What training scripts call the weights, next to the optimizer and the epoch; averaged weights first, as in timm.
WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "params_ema",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
)

#: Wrappers in wrappers, as in {"model_ema": {"module": ...}}.
MOST_WRAPPERS = 3

_SHOWN_NAMES = 5

#: numpy's kinds of numbers, by its one-letter codes.
NUMERIC = "?bhilqBHILQefd"

#: How files begin that are something else, and what they are.
_OTHER_FILES = {
    b"version https://git-lfs": "it is a Git LFS pointer: fetch the file itself with `git lfs pull`",
    b"<!doctype": "it is a web page: download the file itself",
    b"<html": "it is a web page: download the file itself",
}


_Harmless = Callable[..., object] | tuple[Callable[..., object], str]


def _harmless() -> list[_Harmless]:
    """What else training scripts put into a checkpoint. To make one of these runs no code of the file."""
    harmless: list[_Harmless] = [argparse.Namespace, pathlib.PosixPath, np.ndarray, np.dtype]
    for kind in NUMERIC:
        harmless.append(type(np.dtype(kind)))
    for name in ("scalar", "_reconstruct"):
        # numpy 1 had them elsewhere.
        for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            harmless.append((getattr(multiarray, name), f"{module}.{name}"))
    return harmless


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a ``.safetensors`` file or a torch checkpoint; half-precision ones as float32.

    In a checkpoint the weights may lie next to other things, under a name of :data:`WRAPPERS`, and be numpy arrays.

    Raises:
        UsageError: missing, damaged, no weights or NaN in it, or a pickle that would run code.
    """
    if not path.is_file():
        raise UsageError(f"no weights file {path}")
    # A file under the wrong suffix is read as what it is.
    if path.suffix == ".safetensors" and not zipfile.is_zipfile(path):
        stored = _read_safetensors(path)
    else:
        stored = _tensors(path, _read_torch(path))
    # A new dict: the stored one can carry torch's version numbers, which make BatchNorm insist on its step counters.
    state = {}
    for name, tensor in stored.items():
        if tensor.is_floating_point():
            tensor = tensor.float()
            if tensor.isnan().any():
                raise UsageError(f"{path} holds NaN (in {name}): its training went wrong; give another file")
        state[name] = tensor
    return state


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(path)
    except (safetensors.SafetensorError, ValueError) as error:
        why = _other_file(path) or first_line(error)
        raise UsageError(f"{path} is not a complete safetensors file ({why}); fetch it again") from None


def _read_torch(path: Path) -> object:
    try:
        # From a stream: of a path, torch would believe the suffix.
        with path.open("rb") as file, torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the message below says
            content: object = torch.load(file, map_location="cpu", weights_only=True)
            return content
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError, OSError) as error:
        if "TorchScript" in str(error):
            why = "it is a TorchScript archive: save torch.jit.load(FILE).state_dict() with torch.save"
        elif "GLOBAL" in str(error):  # the unpickler met a class or function outside the safe list
            raise UsageError(
                f"{path} holds more than tensors{_unsafe(path)}, and reading it could run code from it; "
                "save the state dict alone (torch.save(model.state_dict(), FILE)) or use .safetensors"
            ) from None
        else:
            why = _other_file(path) or "it is cut off, or of another kind"
        raise UsageError(
            f"{path} is not a complete torch state dict: {why}; fetch it again, or give a .safetensors file"
        ) from error


def _unsafe(path: Path) -> str:
    """What the file would have run, in brackets; nothing where that cannot be said."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except (RuntimeError, ValueError, OSError, pickle.UnpicklingError, EOFError):
        return ""
    return f" ({_listed(names)})"


def _other_file(path: Path) -> str | None:
    """What a file is that holds no weights; None where its beginning does not say."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if not start:
        return "it is empty"
    for beginning, what in _OTHER_FILES.items():
        if start.startswith(beginning):
            return what
    return None


def _tensors(path: Path, content: object) -> dict[str, Tensor]:
    """The weights among what a checkpoint holds."""
    inner = content
    for _ in range(MOST_WRAPPERS):
        wrapped = _wrapped(inner)
        if wrapped is None:
            break
        inner = wrapped
    tensors = _named_tensors(inner)
    if tensors:
        return tensors
    what = f"a {type(content).__name__}"
    if isinstance(content, Mapping):
        what += f" of {_listed([str(name) for name in content])}"
    raise UsageError(
        f"{path}: expected a state dict (tensors by name), got {what}; save the weights alone "
        "(torch.save(model.state_dict(), FILE))"
    )


def _wrapped(content: object) -> object | None:
    """The mapping of tensors in a mapping of other things: one with a usual name, else the only one."""
    if not isinstance(content, Mapping):
        return None
    for name in WRAPPERS:
        value: object = content.get(name)
        if _holds_tensors(value):
            return value
    if _named_tensors(content):
        return None
    inner: list[object] = [value for value in content.values() if _holds_tensors(value)]
    if len(inner) == 1:
        return inner[0]
    return None


def _holds_tensors(value: object) -> bool:
    """Directly, or in a wrapper once more."""
    return isinstance(value, Mapping) and bool(_named_tensors(value) or _wrapped(value) is not None)


def _named_tensors(content: object) -> dict[str, Tensor]:
    """The tensors and numeric arrays of a mapping; numbers such as the epoch are no weights."""
    tensors = {}
    if isinstance(content, Mapping):
        for name, value in content.items():
            if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
                value = torch.from_numpy(np.array(value))
            if isinstance(value, Tensor) and isinstance(name, str):
                tensors[name] = value
    return tensors


def _listed(names: list[str]) -> str:
    text = ", ".join(names[:_SHOWN_NAMES])
    if len(names) > _SHOWN_NAMES:
        text += ", ..."
    return text
