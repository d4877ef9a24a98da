"""Initial weights of a model, and weights of a complete model."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from mlkdc.errors import UsageError
from mlkdc.models.backbone import Backbone
from mlkdc.models.files import read_state
from mlkdc.models.hub import fetch_pretrained
from mlkdc.models.mismatch import State, mismatch, model_mismatch
from mlkdc.models.model import MultiLabelModel
from mlkdc.models.naming import from_repvgg, without_prefix
from mlkdc.recipe import Model, Teacher

# What timm's and torchvision's models have after the feature map, and our bodies do not.
_CLASSIFIERS = ("classifier", "fc", "head", "head_dist", "heads", "aux1", "aux2")

# Where a complete model has its backbone.
_BODY = "backbone.body."

log = logging.getLogger(__name__)


def load_initial_weights(model: MultiLabelModel, spec: Model) -> None:
    """Load what ``spec.weights`` names: ``none``, ``pretrained``, or a file of a backbone or of a complete model.

    Raises:
        UsageError: the weights are missing, unreadable, not reachable, or belong to another model.
    """
    if spec.weights == "none":
        return
    section = "student"
    if isinstance(spec, Teacher):
        section = "teacher"
    if spec.weights == "pretrained":
        path = fetch_pretrained(model.backbone, spec.model, section)
        log.info("pretrained weights of %s: %s", spec.model, path)
    else:
        path = Path(spec.weights).expanduser()
        if not path.is_file():
            raise UsageError(
                f"{section}.weights: {spec.weights!r} is not a file, 'pretrained' or 'none'; "
                f"give a file, or --set {section}.weights=none"
            )
    state = read_state(path)
    if is_complete_model(state):
        load_state(model, state, f"{section}.weights {path}")
    else:
        load_backbone(model.backbone, state, f"{section}.weights {path}")


def is_complete_model(state: State) -> bool:
    """Whether tensors are those of a model with its head, as mlkdc saves it, under whatever prefix."""
    return any(f".{_BODY}" in f".{name}" for name in state)


def load_backbone(backbone: Backbone, state: State, what: str) -> None:
    """Strictly load a backbone's weights in timm's or torchvision's naming; what follows its map is skipped.

    Args:
        backbone: what to load into.
        state: tensors by name.
        what: the source, for the message.

    Raises:
        UsageError: the weights belong to another model.
    """
    expected = backbone.body.state_dict()
    state = without_prefix(state, expected)
    usable = _usable(state, backbone, expected)
    # Only where the names or shapes differ: timm's translations assume a file of an older or another layout.
    if mismatch(expected, usable):
        usable = _usable(_translated(from_repvgg(state), backbone.body), backbone, expected)
    difference = mismatch(expected, usable)
    if difference:
        raise UsageError(
            f"{what} does not fit the backbone {backbone.source}: {difference}; "
            "try the weights of that model, or set the model these weights are of"
        )
    backbone.body.load_state_dict({name: tensor for name, tensor in usable.items() if name in expected})


def _classifier_prefixes(backbone: Backbone) -> tuple[str, ...]:
    modules = list(_CLASSIFIERS)
    # timm names the classifier of each model; some, such as CrossViT, have two.
    classifier: str | tuple[str, ...] | None = None
    if backbone.cfg is not None:
        classifier = backbone.cfg.classifier
    if isinstance(classifier, str):
        modules.append(classifier)
    elif classifier is not None:
        modules.extend(classifier)
    return tuple(f"{module}." for module in modules)


def _usable(state: State, backbone: Backbone, expected: State) -> State:
    """Without what comes after the feature map."""
    classifiers = _classifier_prefixes(backbone)
    usable = {}
    for name, tensor in state.items():
        # Some of timm's heads hold a layer that the body keeps.
        if name in expected or not (name.startswith(classifiers) or name in backbone.left_out):
            usable[name] = tensor
    return usable


def _translated(state: State, body: nn.Module) -> State:
    """By the function that timm's module of that architecture has for it.

    It renames what older versions and the authors' releases call otherwise, and resamples position embeddings of
    another image size. torchvision's models and many of timm's have none.
    """
    module = sys.modules[type(body).__module__]
    translate: Callable[[dict[str, Tensor], nn.Module], State] | None = getattr(module, "checkpoint_filter_fn", None)
    if translate is None:
        return state
    try:
        return translate(dict(state), body)
    except KeyError:  # one looks for the classifier's layers in the body
        return state


def load_state(model: MultiLabelModel, path_or_state: str | Path | State, what: str) -> None:
    """Strictly load the weights of a complete model.

    Args:
        model: what to load into.
        path_or_state: a file, or tensors by name.
        what: the source, for the message.

    Raises:
        UsageError: another label count, another architecture or head, or an unreadable file.
    """
    if isinstance(path_or_state, str | Path):
        path_or_state = read_state(Path(path_or_state))
    state = without_prefix(path_or_state, model.state_dict())
    # Runs of earlier versions kept the layers that their backbone's map does without.
    left_out = {f"{_BODY}{name}" for name in model.backbone.left_out}
    state = {name: tensor for name, tensor in state.items() if name not in left_out}
    difference = model_mismatch(model.state_dict(), state)
    if difference:
        raise UsageError(f"{what} does not fit the model: {difference}")
    model.load_state_dict(state)
