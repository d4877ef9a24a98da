"""First weights of a model and weights of a whole model, always read without executing code."""

import logging
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mlkdc.errors import UsageError
from mlkdc.models.backbone import Backbone
from mlkdc.models.hub import fetch_pretrained
from mlkdc.recipe import Model, Teacher

if TYPE_CHECKING:
    from mlkdc.models.model import MultiLabelModel

State = Mapping[str, Tensor]
log = logging.getLogger(__name__)


def load_first_weights(model: "MultiLabelModel", spec: Model) -> None:
    """Load what ``spec.weights`` names: ``none``, ``pretrained``, or a file of a backbone or of a whole model.

    Raises:
        UsageError: the weights are missing, unreadable, not reachable, or belong to another model.
    """
    if spec.weights == "none":
        return
    section = "teacher" if isinstance(spec, Teacher) else "student"
    if spec.weights == "pretrained":
        path = fetch_pretrained(model.backbone, spec.model, section)
        log.info("pretrained weights of %s: %s", spec.model, path)
    else:
        path = Path(spec.weights).expanduser()
        if not path.is_file():
            ways = f"give a file, or --set {section}.weights=none"
            raise UsageError(f"{section}.weights: {spec.weights!r} is not a file, 'pretrained' or 'none'; {ways}")
    state = read_state(path)
    if any(key.startswith("backbone.") for key in state):
        load_state(model, state, f"{section}.weights {path}")
    else:
        load_backbone(model.backbone, state, f"{section}.weights {path}")


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a ``.safetensors`` file or a torch state dict; half-precision ones as float32.

    Raises:
        UsageError: missing, damaged, not a state dict, or a pickle that would run code.
    """
    if not path.is_file():
        raise UsageError(f"no weights file {path}")
    if path.suffix == ".safetensors":
        try:
            content = load_file(path)
        except (safetensors.SafetensorError, ValueError) as error:
            raise UsageError(f"{path} is not a whole safetensors file ({error}); fetch it again") from None
    else:
        content = _read_torch(path)
    return {name: t.float() if t.is_floating_point() else t for name, t in content.items()}


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError) as error:
        if "GLOBAL" in str(error):  # the unpickler met a class or function outside torch's safe list
            raise UsageError(
                f"{path} holds more than tensors, and reading it could run code from it; "
                "save the state dict alone (torch.save(model.state_dict(), FILE)) or use .safetensors"
            ) from None
        raise UsageError(
            f"{path} is not a whole torch state dict; fetch it again, or give a .safetensors file"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UsageError(f"{path}: expected a state dict (tensors by name), got a {type(content).__name__}")
    return content


def load_backbone(backbone: Backbone, state: State, what: str) -> None:
    """Strictly load a backbone's weights in timm's or torchvision's naming; classifier weights are left out.

    Raises:
        UsageError: the weights belong to another model.
    """
    # What timm's and torchvision's models have after the feature map.
    tails = ["classifier", "fc", "head", "head_dist", "heads", "aux1", "aux2"]
    named = backbone.cfg.classifier if backbone.cfg else None
    tails += [named] if isinstance(named, str) else list(named or ())
    own = backbone.body.state_dict()
    if _difference(own, _without(state, tails, own)):
        # timm's own translation: older names, position tables of another image size.
        translate = getattr(sys.modules[type(backbone.body).__module__], "checkpoint_filter_fn", None)
        if translate is not None:
            state = translate(dict(state), backbone.body)
    state = _without(state, tails, own)
    if fault := _difference(own, state):
        raise UsageError(
            f"{what} does not fit the backbone {backbone.source}: {fault}; "
            "try the weights of that model, or set the model these weights are of"
        )
    backbone.body.load_state_dict({name: tensor for name, tensor in state.items() if name in own})


def load_state(model: nn.Module, path_or_state: str | Path | State, what: str) -> None:
    """Strictly load the weights of a whole model.

    Args:
        model: what to load into.
        path_or_state: a file, or tensors by name.
        what: the source, for the message.

    Raises:
        UsageError: another label count, another architecture or head, or an unreadable file.
    """
    if isinstance(path_or_state, str | Path):
        state: State = read_state(Path(path_or_state))
    else:
        state = path_or_state
    own = model.state_dict()
    if fault := _difference(own, state):
        labels = _label_counts(own, state)
        if labels:
            fault = f"it was trained for {labels[1]} labels and the data has {labels[0]}; they must be equal"
        else:
            part = "head" if not _difference(_part(own, "backbone."), _part(state, "backbone.")) else "backbone"
            fault = f"its {part} is another one ({fault}); use the model, width and head it was trained with"
        raise UsageError(f"{what} does not fit the model: {fault}")
    model.load_state_dict(state)


def _part(state: State, prefix: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith(prefix)}


def _without(state: State, tails: list[str], own: State) -> dict[str, Tensor]:
    dropped = tuple(f"{tail}." for tail in tails)
    return {name: t for name, t in state.items() if name in own or not name.startswith(dropped)}


def _label_counts(own: State, state: State) -> tuple[int, int] | None:
    """(expected, got) where the label count is all that differs between two models."""
    if own.keys() != state.keys():
        return None
    counts = {
        (own[name].shape[0], state[name].shape[0])
        for name in own
        if own[name].shape != state[name].shape and own[name].ndim and state[name].ndim
    }
    same_rest = all(own[n].shape[1:] == state[n].shape[1:] for n in own)
    per_label = all(n.startswith("head.") for n in own if own[n].shape != state[n].shape)
    return counts.pop() if len(counts) == 1 and same_rest and per_label else None


def _difference(own: State, state: State) -> str:
    """What keeps ``state`` from being loaded into a module with the state ``own``; empty when nothing does."""
    # BatchNorm's step counter says nothing about the model, and some converters leave it out.
    counted = "num_batches_tracked"
    missing = [name for name in own if name not in state and not name.endswith(counted)]
    unexpected = [name for name in state if name not in own and not name.endswith(counted)]
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    parts = []
    for kind, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            parts.append(f"{kind} {', '.join(names[:3])}{more}")
    if shapes:
        name = shapes[0]
        parts.append(f"{name} is {list(state[name].shape)} where {list(own[name].shape)} was expected")
    return "; ".join(parts)
