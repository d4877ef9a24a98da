"""Feature extractors from timm and torchvision, all returning maps of shape ``[b, C, h, w]``."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import timm
import torch
import torchvision.models as zoo
from timm.models import PretrainedCfg, get_arch_pretrained_cfgs, get_pretrained_cfg
from timm.models._efficientnet_blocks import InvertedResidual
from timm.models.efficientnet import _gen_mobilenet_v2
from torch import Tensor, nn

from mlkdc.errors import UsageError, nearest
from mlkdc.models.cifar import CIFAR, make_cifar
from mlkdc.models.stages import MOST_STAGES, intermediates, keep

#: Short names of the small models meant for devices, and what they stand for.
STUDENTS = {
    "mobilenetv2": "mobilenetv2_100",
    "repvgg_a0": "repvgg_a0",
    "shufflenetv2_x0_5": "shufflenet_v2_x0_5",
    "shufflenetv2_x1_0": "shufflenet_v2_x1_0",
}

# torchvision's transformers are reached through timm's, which take any image size.
_ALIASES = STUDENTS | {
    "swin_t": "swin_tiny_patch4_window7_224",
    "swin_s": "swin_small_patch4_window7_224",
    "swin_b": "swin_base_patch4_window7_224",
    "wrn_50": "wide_resnet50_2",
    "wrn_101": "wide_resnet101_2",
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
    "vit_l_32": "vit_large_patch32_224",
    "vit_h_14": "vit_huge_patch14_224",
}

# timm's names of the widths of MobileNetV2 that it has (some of them with weights).
_MOBILENET_WIDTHS = {0.35: "035", 0.5: "050", 0.75: "075", 1.0: "100", 1.4: "140"}

# Where torchvision's classifiers begin: whatever comes before them makes the feature map.
_TAILS = ("avgpool", "classifier", "fc", "head")

Triple = tuple[float, float, float]

#: Mean and standard deviation that torchvision's weights expect, and the model that expects others.
IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TORCHVISION_STATS: dict[str, tuple[Triple, Triple]] = {"googlenet": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))}


class Backbone(nn.Module):
    """A feature extractor.

    Args:
        body: the network up to its last feature map; its state dict has the library's own names.
        image_size: side in pixels of the pictures it is probed with (and, for most transformers, bound to).
        cfg: timm's description of the pretrained weights, or None for torchvision.
        source: name in timm or torchvision.

    Attributes:
        channels: C of the feature map.
    """

    def __init__(self, body: nn.Module, image_size: int, cfg: PretrainedCfg | None, source: str) -> None:
        super().__init__()
        self.body = body
        self.cfg = cfg
        self.source = source
        self._to_map: Callable[[Tensor], Tensor] = _identity
        self._to_map, self.channels = _probe(body, image_size)

    @property
    def mean(self) -> Triple:
        """Per-channel mean that the pretrained weights expect, pixels in 0..1."""
        return _triple(self.cfg.mean) if self.cfg else TORCHVISION_STATS.get(self.source, IMAGENET)[0]

    @property
    def std(self) -> Triple:
        """Per-channel standard deviation that the pretrained weights expect, pixels in 0..1."""
        return _triple(self.cfg.std) if self.cfg else TORCHVISION_STATS.get(self.source, IMAGENET)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Normalized ``float[b, 3, s, s]`` to the feature map ``[b, C, h, w]``."""
        return self._to_map(_features(self.body, x))

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of the last four resolutions, or of as many as there are, by one pass.

        Args:
            x: normalized ``float[b, 3, s, s]``.

        Returns:
            ``[b, C_i, h_i, w_i]``, finest first; the last is what :meth:`forward` returns.

        Raises:
            UsageError: the network does not give them.
        """
        maps, output = intermediates(self.body, x, self.source)
        keep(maps, self._to_map(output))
        return tuple(maps[-MOST_STAGES:])


def _triple(values: tuple[float, ...]) -> Triple:
    red, green, blue = values
    return red, green, blue


def _features(body: nn.Module, x: Tensor) -> Tensor:
    return body.forward_features(x) if hasattr(body, "forward_features") else body(x)  # type: ignore[operator]


def _identity(x: Tensor) -> Tensor:
    return x


def _from_nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


class _FromTokens:
    """``[b, prefix + h*w, C]`` to ``[b, C, h, w]``, leaving out class and register tokens."""

    def __init__(self, prefix: int, height: int, width: int) -> None:
        self.prefix, self.height, self.width = prefix, height, width

    def __call__(self, x: Tensor) -> Tensor:
        return x[:, self.prefix :].transpose(1, 2).unflatten(2, (self.height, self.width))


def _probe(body: nn.Module, image_size: int) -> tuple[Callable[[Tensor], Tensor], int]:
    """How to turn the body's output into ``[b, C, h, w]``, and C."""
    body.eval()
    with torch.no_grad():
        features = _features(body, torch.zeros(1, 3, image_size, image_size))
    body.train()
    channels = getattr(body, "num_features", None)
    if features.ndim == 3:
        prefix = getattr(body, "num_prefix_tokens", 0)
        count = features.shape[1] - prefix
        side = math.isqrt(count)
        if side * side != count:
            raise ValueError(f"{count} tokens are not a square map")
        return _FromTokens(prefix, side, side), features.shape[2]
    if features.ndim != 4:
        raise ValueError(f"its features have shape {tuple(features.shape)}, which is not a map")
    channels_last = str(getattr(body, "output_fmt", "NCHW")) == "NHWC" or (
        features.shape[1] != channels and features.shape[3] == channels and features.shape[1] == features.shape[2]
    )
    return (_from_nhwc, features.shape[3]) if channels_last else (_identity, features.shape[1])


def model_names() -> list[str]:
    """Every name that ``model:`` of a recipe can have: short names first, then timm's and torchvision's."""
    known = {*timm.list_models(), *_torchvision_names()} - {*_ALIASES, *CIFAR}
    return [*_ALIASES, *CIFAR, *sorted(known)]


def _torchvision_names() -> list[str]:
    return zoo.list_models(module=zoo)


def check_name(name: str) -> None:
    """Check a model's name without building it.

    Raises:
        UsageError: neither timm nor torchvision has it; the message gives the nearest names.
    """
    base, dot, tag = name.partition(".")
    names = model_names()
    if base not in names:
        raise UsageError(f"unknown model {name!r}; {nearest(base, names)} (`mlkdc ls models` lists them)")
    if dot:
        tags = list(get_arch_pretrained_cfgs(_ALIASES.get(base, base)))
        full = [f"{base}.{known.rpartition('.')[2]}" for known in tags if "." in known]
        if name not in full:
            raise UsageError(f"model {base!r} has no weights tagged {tag!r}; {nearest(name, full)}")


def make_backbone(name: str, width: float, image_size: int) -> Backbone:
    """Build an untrained backbone.

    Args:
        name: a short name, one of :data:`mlkdc.models.cifar.CIFAR`, or any timm name (``.tag`` chooses among its
            weights) or torchvision name; a name that both have is timm's, but for VGGs: timm's keep 120 M
            parameters of fully connected layers that no map needs.
        width: channel multiplier; other than 1 only for ``mobilenetv2`` (Sandler et al. 2018).
        image_size: side of the pictures in pixels.

    Raises:
        UsageError: unknown name, a width the model does not have, or an image size it cannot take.
    """
    check_name(name)
    base, dot, tag = name.partition(".")
    source = _ALIASES.get(base, base) + dot + tag
    if width != 1.0 and base != "mobilenetv2":
        raise UsageError(f"width {width:g}: {name} has no channel multiplier; set width to 1 or use mobilenetv2")
    try:
        if base == "mobilenetv2":
            body = _gen_mobilenet_v2("mobilenetv2_100", width, num_classes=0, global_pool="")
            _start_residuals_at_zero(body)
            known = _MOBILENET_WIDTHS.get(width)
            source = f"mobilenetv2_{known}{dot}{tag}" if known else f"mobilenetv2 of width {width:g}"
            cfg = get_pretrained_cfg(source) if known else PretrainedCfg()
        elif base in CIFAR:
            body, cfg = make_cifar(base), PretrainedCfg()
        elif timm.is_model(source) and not (base.startswith("vgg") and source in _torchvision_names()):
            body, cfg = _make_timm(source, image_size)
        else:
            body, cfg = _make_torchvision(source), None
        return Backbone(body, image_size, cfg, source)
    except UsageError:
        raise
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(
            f"{name} cannot be used as a backbone for {image_size} x {image_size} images: {error}; "
            "try another image size or model"
        ) from error


def _start_residuals_at_zero(body: nn.Module) -> None:
    """Zero the last normalization scale of every residual branch (Goyal et al. 2017, section 5.1).

    timm does so for its ResNets and not for MobileNetV2, which from random weights then learns several times slower.
    """
    for block in body.modules():
        if isinstance(block, InvertedResidual) and block.has_skip:
            nn.init.zeros_(block.bn3.weight)


def _make_timm(source: str, image_size: int) -> tuple[nn.Module, PretrainedCfg]:
    cfg = get_pretrained_cfg(source) or PretrainedCfg()
    arguments: dict[str, Any] = {"num_classes": 0, "global_pool": ""}
    # Convolutional networks take any size; those that do not (Swin, ViT) are built for this one.
    if cfg.fixed_input_size and image_size != cfg.input_size[-1]:
        arguments["img_size"] = image_size
    return timm.create_model(source, **arguments), cfg


def _make_torchvision(source: str) -> nn.Module:
    # Auxiliary classifiers, which no feature map needs.
    arguments = {"aux_logits": False, "init_weights": False} if source == "googlenet" else {}
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in zoo.get_model(source, weights=None, **arguments).named_children():
        if name in _TAILS:
            break
        layers[name] = nn.Sequential(*layer) if isinstance(layer, nn.ModuleList) else layer
    if source.startswith("densenet"):
        layers["relu"] = nn.ReLU()  # torchvision applies it in forward, without a module
    return nn.Sequential(layers)
