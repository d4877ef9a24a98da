"""Pretrained weights from the model libraries' hubs: from the cache, else from the network, else a clear error."""

import urllib.error
import urllib.request
from pathlib import Path

import huggingface_hub
import torch
import torchvision.models as zoo
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from mlkdc.errors import UsageError
from mlkdc.models.backbone import Backbone

#: Seconds after which a hub counts as unreachable.
TIMEOUT = 5

#: What timm's repositories call their weights.
FILE = "model.safetensors"


def fetch_pretrained(backbone: Backbone, name: str, section: str) -> Path:
    """The file of a backbone's pretrained ImageNet weights.

    Args:
        backbone: says which weights.
        name: the model's name in the recipe, for messages.
        section: ``student`` or ``teacher``, for messages.

    Raises:
        UsageError: there are no such weights, or they are neither cached nor reachable; the message names
            the file to supply and the settings to go on with.
    """
    cfg = backbone.cfg
    if cfg is not None and cfg.hf_hub_id:
        path, what, fault = _from_hub(str(cfg.hf_hub_id))
    elif cfg is not None:
        raise UsageError(
            f"there are no pretrained weights of {backbone.source}: train from scratch with "
            f"--set {section}.weights=none, give a file with --set {section}.weights=FILE, or change the model"
        )
    else:
        path, what, fault = _from_url(zoo.get_model_weights(backbone.source)["DEFAULT"].url)
    if path is None:
        raise UsageError(
            f"the pretrained weights of {name} are neither in the cache nor to be had ({fault}): "
            f"supply the file ({what}) with --set {section}.weights=FILE, "
            f"or train from scratch with --set {section}.weights=none"
        )
    return path


def _from_hub(hub_id: str) -> tuple[Path | None, str, str]:
    """(path or None, what was looked for, why it is not here)."""
    repository, _, tag = hub_id.partition("@")
    revision = tag or None
    what = f"{FILE} of the Hugging Face repository {repository}"
    try:
        path = huggingface_hub.hf_hub_download(repository, FILE, revision=revision, local_files_only=True)
        return Path(path), what, ""
    except LocalEntryNotFoundError:
        fault = _unreachable(huggingface_hub.hf_hub_url(repository, FILE, revision=revision))
    if not fault:
        try:
            path = huggingface_hub.hf_hub_download(repository, FILE, revision=revision, etag_timeout=TIMEOUT)
            return Path(path), what, ""
        except (OSError, HfHubHTTPError) as error:
            fault = type(error).__name__
    return None, what, fault


def _from_url(url: str) -> tuple[Path | None, str, str]:
    """(path or None, what was looked for, why it is not here)."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path, url, ""
    fault = _unreachable(url)
    if not fault:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
            return path, url, ""
        except OSError as error:
            fault = type(error).__name__
    return None, url, fault


def _unreachable(url: str) -> str:
    """Why a server cannot be reached, within seconds (the hub's own client retries for half a minute)."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return ""  # it answered; what it thinks of the file is the client's to say
    except OSError as error:
        return str(getattr(error, "reason", error))
    return ""
