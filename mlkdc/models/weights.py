"""Weights from a file or from the model libraries' hubs, always read without executing code."""

import logging
import pickle
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub
import safetensors
import torch
import torchvision.models as zoo
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file
from timm.models import PretrainedCfg
from torch import Tensor, nn

from mlkdc.errors import UsageError
from mlkdc.models.backbone import Backbone
from mlkdc.recipe import Model, Teacher

if TYPE_CHECKING:
    from mlkdc.models.model import MultiLabelModel

State = Mapping[str, Tensor]
log = logging.getLogger(__name__)

#: Seconds after which a hub counts as unreachable.
TIMEOUT = 5


def load_first_weights(model: "MultiLabelModel", spec: Model) -> None:
    """Load what ``spec.weights`` names: ``none``, ``pretrained``, or a file of a backbone or of a whole model.

    Raises:
        UsageError: the weights are missing, unreadable, not reachable, or belong to another model.
    """
    if spec.weights == "none":
        return
    section = "teacher" if isinstance(spec, Teacher) else "student"
    if spec.weights == "pretrained":
        path = _fetch(model.backbone, spec, section)
        log.info("pretrained weights of %s: %s", spec.model, path)
    else:
        path = Path(spec.weights).expanduser()
        if not path.is_file():
            ways = f"give a file, or --set {section}.weights=none"
            raise UsageError(f"{section}.weights: {spec.weights!r} is not a file, 'pretrained' or 'none'; {ways}")
    state = read_state(path)
    if any(key.startswith(("backbone.", "head.")) for key in state):
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
    except pickle.UnpicklingError:
        raise UsageError(
            f"{path} holds more than tensors, and reading it would run code from it; "
            "save the state dict alone (torch.save(model.state_dict(), ...)) or use .safetensors"
        ) from None
    except (RuntimeError, EOFError, ValueError) as error:
        raise UsageError(f"{path} is not a torch state dict ({error}); fetch it again or use .safetensors") from None
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
    # Classifiers in timm's naming, then the part of torchvision's models that comes after the map.
    tails = ("classifier", "fc", "head", "head_dist", "AuxLogits", "aux1", "aux2", "heads")
    if backbone.cfg is not None and backbone.cfg.classifier:
        named = backbone.cfg.classifier
        tails = (*tails, *((named,) if isinstance(named, str) else tuple(named)))
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
    backbone.body.load_state_dict(state)


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
            fault = (
                f"it was trained for {labels[1]} labels and the data has {labels[0]}; use weights of the same labels"
            )
        else:
            part = "head" if not _difference(_part(own, "backbone."), _part(state, "backbone.")) else "backbone"
            fault = f"its {part} is another one ({fault}); use the model, width and head it was trained with"
        raise UsageError(f"{what} does not fit the model: {fault}")
    model.load_state_dict(state)


def _part(state: State, prefix: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith(prefix)}


def _without(state: State, tails: tuple[str, ...], own: State) -> dict[str, Tensor]:
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
    # A step counter of BatchNorm that some converters leave out; it is of no use here.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
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


def _fetch(backbone: Backbone, spec: Model, section: str) -> Path:
    """The file of a library's pretrained weights, from the cache or the network."""
    cfg = backbone.cfg
    if cfg is None:
        url = zoo.get_model_weights(backbone.source)["DEFAULT"].url
        return _from_url(url, spec, section)
    if spec.width != 1.0 and " of width " in backbone.source or not (cfg.hf_hub_id or cfg.url):
        raise UsageError(
            f"there are no pretrained weights of {backbone.source}: train from scratch with "
            f"--set {section}.weights=none, give a file with --set {section}.weights=FILE, or change the model"
        )
    return _from_hub(cfg, spec, section) if cfg.hf_hub_id else _from_url(cfg.url or "", spec, section)


def _from_hub(cfg: PretrainedCfg, spec: Model, section: str) -> Path:
    repository, _, revision = str(cfg.hf_hub_id).partition("@")
    where = {"repo_id": repository, "filename": "model.safetensors", "revision": revision or None}
    try:
        return Path(huggingface_hub.hf_hub_download(**where, local_files_only=True))
    except LocalEntryNotFoundError:
        pass  # not in the cache: ask the hub
    fault = _unreachable(huggingface_hub.hf_hub_url(**where))
    if not fault:
        try:
            return Path(huggingface_hub.hf_hub_download(**where, etag_timeout=TIMEOUT))
        except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError) as error:
            fault = type(error).__name__
    raise _not_here(spec, section, f"model.safetensors of the Hugging Face repository {repository}", fault)


def _from_url(url: str, spec: Model, section: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    fault = _unreachable(url)
    if not fault:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
            return path
        except OSError as error:
            fault = type(error).__name__
    raise _not_here(spec, section, url, fault)


def _unreachable(url: str) -> str:
    """Why a server cannot be reached, within seconds (the hub's own client retries for half a minute)."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return ""  # it answered; what it thinks of the file is the client's to say
    except OSError as error:
        return str(getattr(error, "reason", error))
    return ""


def _not_here(spec: Model, section: str, file: str, fault: str) -> UsageError:
    return UsageError(
        f"the pretrained weights of {spec.model} are neither in the cache nor reachable ({fault}): "
        f"supply the file ({file}) with --set {section}.weights=FILE, "
        f"or train from scratch with --set {section}.weights=none"
    )
