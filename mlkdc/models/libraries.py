"""Names of models, and a backbone for each: from timm, from torchvision, or one of our CIFAR networks."""

from collections import OrderedDict
from typing import NamedTuple

import timm
import torchvision.models as zoo
from timm.models import PretrainedCfg, get_arch_pretrained_cfgs, get_pretrained_cfg
from timm.models._efficientnet_blocks import InvertedResidual
from timm.models.efficientnet import _gen_mobilenet_v2
from torch import nn

from mlkdc.errors import UsageError, nearest
from mlkdc.model_names import ALIASES, short_names
from mlkdc.models.backbone import Backbone
from mlkdc.models.cifar import CIFAR, make_cifar

# The only model whose width can be chosen.
_ANY_WIDTH = "mobilenetv2"

# timm's names for the widths of MobileNetV2 that it has (some of them with weights).
_MOBILENET_WIDTHS = {0.35: "035", 0.5: "050", 0.75: "075", 1.0: "100", 1.4: "140"}

# Where torchvision's classifiers begin: whatever comes before them makes the feature map.
_CLASSIFIERS = ("avgpool", "classifier", "fc", "head")


class _Network(NamedTuple):
    """A network up to its last feature map, what timm says of its pretrained weights, and its name in its library."""

    body: nn.Module
    cfg: PretrainedCfg | None
    source: str


def model_names() -> list[str]:
    """Every name that ``model:`` of a recipe can have: short names first, then timm's and torchvision's, sorted."""
    short = short_names()
    library_names = {*timm.list_models(), *_torchvision_names()}
    return [*short, *sorted(library_names.difference(short))]


def _torchvision_names() -> list[str]:
    # zoo itself, without its submodules: those have models for detection, segmentation and video.
    names: list[str] = zoo.list_models(module=zoo)
    return names


def check_name(name: str) -> None:
    """Check a model's name without building the model.

    Args:
        name: as in a recipe; a tag behind a dot chooses among timm's weights (``mobilenetv2_100.ra_in1k``).

    Raises:
        UsageError: neither timm nor torchvision has it; the message gives the nearest names.
    """
    base, dot, tag = name.partition(".")
    names = model_names()
    if base not in names:
        raise UsageError(f"unknown model {name!r}; {nearest(base, names)} (`mlkdc ls models` lists them)")
    if not dot:
        return
    tagged_names = _tagged_names(base)
    if name not in tagged_names:
        raise UsageError(f"model {base!r} has no weights tagged {tag!r}; {nearest(name, tagged_names)}")


def check_width(name: str, width: float) -> None:
    """Raise UsageError where a model has no channel multiplier, and one other than 1 is asked for."""
    base, _, _ = name.partition(".")
    if width != 1.0 and base != _ANY_WIDTH:
        raise UsageError(f"width {width:g}: {name} has no channel multiplier; set width to 1 or use {_ANY_WIDTH}")


def _tagged_names(base: str) -> list[str]:
    """The name with every tag that timm has weights for: ``swin_t.ms_in1k``, under the short name."""
    names = []
    for source in get_arch_pretrained_cfgs(ALIASES.get(base, base)):
        _, dot, tag = source.partition(".")
        if dot:
            names.append(f"{base}.{tag}")
    return names


def make_backbone(name: str, width: float, image_size: int) -> Backbone:
    """Build a backbone with random weights, which follow torch's global seed.

    Args:
        name: a short name (:func:`mlkdc.model_names.short_names`), or any timm name (``.tag`` chooses among its
            weights) or torchvision name.
        width: channel multiplier; other than 1 only for ``mobilenetv2`` (Sandler et al. 2018).
        image_size: side of the images in pixels.

    Raises:
        UsageError: unknown name, a width the model does not have, or an image size it cannot take.
    """
    check_name(name)
    check_width(name, width)
    try:
        body, cfg, source = _make_network(name, width, image_size)
        return Backbone(body, image_size, cfg, source)
    # What the libraries raise for an image size, or a weights' tag of another width, that they do not have.
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(
            f"{name} cannot be used as a backbone for {image_size} x {image_size} images: {error}; "
            "try another image size or model"
        ) from error


def _make_network(name: str, width: float, image_size: int) -> _Network:
    base, dot, tag = name.partition(".")
    source = ALIASES.get(base, base) + dot + tag
    if base == _ANY_WIDTH:
        return _make_mobilenet(width, dot + tag)
    if base in CIFAR:
        return _make_cifar(base)
    if _is_from_timm(source):
        return _make_timm(source, image_size)
    return _make_torchvision(source)


def _is_from_timm(source: str) -> bool:
    """A name that both libraries have is timm's, except for VGGs.

    timm's VGGs draw 120 M parameters of fully connected layers that no map needs, and that are removed again.
    """
    if source.startswith("vgg") and source in _torchvision_names():
        return False
    return timm.is_model(source)


def _make_mobilenet(width: float, suffix: str) -> _Network:
    """``suffix``: the tag of the pretrained weights with its dot, or nothing."""
    # timm's public functions have five widths; the one that they call takes any.
    body = _gen_mobilenet_v2("mobilenetv2_100", width, num_classes=0, global_pool="")  # type: ignore[no-untyped-call]
    _zero_last_scales(body)
    digits = _MOBILENET_WIDTHS.get(width)
    if digits is None:
        return _Network(body, PretrainedCfg(), f"mobilenetv2 of width {width:g}")
    source = f"mobilenetv2_{digits}{suffix}"
    return _Network(body, get_pretrained_cfg(source), source)


def _zero_last_scales(body: nn.Module) -> None:
    """Zero the last normalization scale of every residual branch (Goyal et al. 2017, section 5.1).

    timm does so for its ResNets and not for MobileNetV2, which from random weights then learns several times slower.
    """
    for block in body.modules():
        if isinstance(block, InvertedResidual) and block.has_skip:
            nn.init.zeros_(block.bn3.weight)


def _make_cifar(name: str) -> _Network:
    # An empty description: no weights are published, and torchvision, which None stands for, has no such model.
    return _Network(make_cifar(name), PretrainedCfg(), name)


def _make_timm(source: str, image_size: int) -> _Network:
    cfg = get_pretrained_cfg(source) or PretrainedCfg()
    # Convolutional networks take any size; those that do not (Swin, ViT) are built for this one.
    if cfg.fixed_input_size and image_size != cfg.input_size[-1]:
        body = timm.create_model(source, num_classes=0, global_pool="", img_size=image_size)
    else:
        body = timm.create_model(source, num_classes=0, global_pool="")
    return _Network(body, cfg, source)


def _make_torchvision(source: str) -> _Network:
    arguments: dict[str, bool] = {}
    if source == "googlenet":
        # No feature map needs the auxiliary classifiers. torchvision warns where init_weights is left open.
        arguments = {"aux_logits": False, "init_weights": False}
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in zoo.get_model(source, weights=None, **arguments).named_children():
        if name in _CLASSIFIERS:
            break
        if isinstance(layer, nn.ModuleList):
            layer = nn.Sequential(*layer)
        layers[name] = layer
    if source.startswith("densenet"):
        layers["relu"] = nn.ReLU()  # torchvision applies it in forward, without a module
    return _Network(nn.Sequential(layers), None, source)
