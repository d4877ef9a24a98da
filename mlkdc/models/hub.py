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
TIMEOUT_SECONDS = 5

#: What timm's repositories call their weights.
FILE = "model.safetensors"


class _UnavailableError(Exception):
    """A file is neither cached nor reachable: which file, and why."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(file, reason)
        self.file = file
        self.reason = reason


def fetch_pretrained(backbone: Backbone, name: str, section: str) -> Path:
    """The file of a backbone's pretrained ImageNet weights.

    Args:
        backbone: says which weights.
        name: the model's name in the recipe, for messages.
        section: ``student`` or ``teacher``, for messages.

    Raises:
        UsageError: there are no such weights, or they are neither cached nor reachable; the message names
            the file to supply and the settings to continue with.
    """
    cfg = backbone.cfg
    try:
        if cfg is None:
            return _from_url(zoo.get_model_weights(backbone.source)["DEFAULT"].url)
        if cfg.hf_hub_id:
            return _from_hub(cfg.hf_hub_id)
    except _UnavailableError as error:
        raise UsageError(
            f"the pretrained weights of {name} are neither in the cache nor reachable ({error.reason}): "
            f"supply the file ({error.file}) with --set {section}.weights=FILE, "
            f"or train from scratch with --set {section}.weights=none"
        ) from error
    raise UsageError(
        f"there are no pretrained weights for {backbone.source}: train from scratch with "
        f"--set {section}.weights=none, give a file with --set {section}.weights=FILE, or change the model"
    )


def _from_hub(hub_id: str) -> Path:
    """From a repository of Hugging Face, ``owner/name`` or ``owner/name@revision``. Raises _UnavailableError."""
    repository, _, tag = hub_id.partition("@")
    revision = tag or None
    file = f"{FILE} of the Hugging Face repository {repository}"
    try:
        return Path(huggingface_hub.hf_hub_download(repository, FILE, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        _check_reachable(huggingface_hub.hf_hub_url(repository, FILE, revision=revision), file)
    try:
        path = huggingface_hub.hf_hub_download(repository, FILE, revision=revision, etag_timeout=TIMEOUT_SECONDS)
    except (OSError, HfHubHTTPError) as error:
        raise _UnavailableError(file, type(error).__name__) from error
    return Path(path)


def _from_url(url: str) -> Path:
    """From torchvision's server, kept where torchvision itself keeps it. Raises _UnavailableError."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    _check_reachable(url, file=url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except OSError as error:
        raise _UnavailableError(url, type(error).__name__) from error
    return path


def _check_reachable(url: str, file: str) -> None:
    """Raise _UnavailableError within seconds; the hub's own client retries for half a minute."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_SECONDS).close()
    except urllib.error.HTTPError:
        return  # the server answered; whether it has the file is for the client to say
    except OSError as error:
        raise _UnavailableError(file, str(getattr(error, "reason", error))) from error
