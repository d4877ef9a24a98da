"""A feature extractor of any library that returns maps of shape ``[b, C, h, w]``."""

import math
from collections.abc import Callable

import torch
from timm.models import PretrainedCfg
from torch import Tensor, nn

from mlkdc.models.stages import MOST_STAGES, append_coarser, intermediates
from mlkdc.models.unreached import drop_unreached, graph_alone

Triple = tuple[float, float, float]
ToMap = Callable[[Tensor], Tensor]

#: Mean and standard deviation that torchvision's weights expect, and the model that expects others.
IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TORCHVISION_STATS: dict[str, tuple[Triple, Triple]] = {"googlenet": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))}


class Backbone(nn.Module):
    """A feature extractor.

    Args:
        body: the network up to its last feature map; its state dict has the library's names. Layers that the map does
            without are removed from it.
        image_size: side in pixels of the images it is probed with (and, for most transformers, bound to).
        cfg: timm's description of the pretrained weights, or None for torchvision.
        source: name in timm or torchvision.

    Attributes:
        channels: C of the feature map.
        mean, std: per channel, of the images that the pretrained weights expect, in units of 0..1.
        left_out: names of the tensors of the layers that were removed; the library's files have them.

    Raises:
        ValueError: the body's output is not a map, and cannot be made one.
    """

    def __init__(self, body: nn.Module, image_size: int, cfg: PretrainedCfg | None, source: str) -> None:
        super().__init__()
        self.body = body
        self.cfg = cfg
        self.source = source
        features = _probe(body, image_size)
        self._to_map, self.channels = _layout(body, features)
        self.left_out = drop_unreached(body, features)
        if cfg is None:
            self.mean, self.std = TORCHVISION_STATS.get(source, IMAGENET)
        else:
            self.mean, self.std = _triple(cfg.mean), _triple(cfg.std)

    def forward(self, x: Tensor) -> Tensor:
        """Normalized ``float[b, 3, s, s]`` to the feature map ``[b, C, h, w]``."""
        return self._to_map(_output(self.body, x))

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of the last four resolutions, or of as many as there are, in one pass.

        Args:
            x: normalized ``float[b, 3, s, s]``.

        Returns:
            ``[b, C_i, h_i, w_i]``, finest first; the last is what :meth:`forward` returns.

        Raises:
            UsageError: the network does not expose them.
        """
        maps, output = intermediates(self.body, x, self.source)
        append_coarser(maps, self._to_map(output))
        return tuple(maps[-MOST_STAGES:])


def _triple(values: tuple[float, ...]) -> Triple:
    red, green, blue = values
    return red, green, blue


def _output(body: nn.Module, x: Tensor) -> Tensor:
    # timm's forward() would also run the head; bodies from torchvision are sequences that end with the map.
    run: Callable[[Tensor], Tensor] = getattr(body, "forward_features", body)
    return run(x)


def _probe(body: nn.Module, image_size: int) -> Tensor:
    """The body's output of one black image: no library says which layout it has, and which layers it comes from."""
    body.eval()  # so that BatchNorm does not learn from the black image
    with graph_alone():
        features = _output(body, torch.zeros(1, 3, image_size, image_size))
    body.train()
    return features


def _layout(body: nn.Module, features: Tensor) -> tuple[ToMap, int]:
    """How to turn the body's output into ``[b, C, h, w]``, and C."""
    if features.ndim == 3:
        return _from_tokens(body, features), features.shape[2]
    if features.ndim != 4:
        raise ValueError(f"its features have shape {tuple(features.shape)}, which is not a map")
    if _ends_with_channels(body, features):
        return _from_nhwc, features.shape[3]
    return _unchanged, features.shape[1]


def _ends_with_channels(body: nn.Module, features: Tensor) -> bool:
    """Whether a map is ``[b, h, w, C]``: some of timm's networks say so, of others only the sizes show it."""
    if str(getattr(body, "output_fmt", "NCHW")) == "NHWC":
        return True
    channels = getattr(body, "num_features", None)
    _, second, third, fourth = features.shape
    return fourth == channels != second and second == third


def _unchanged(features: Tensor) -> Tensor:
    return features


def _from_nhwc(features: Tensor) -> Tensor:
    return features.permute(0, 3, 1, 2)


class _FromTokens:
    """``[b, prefix + h*w, C]`` to ``[b, C, h, w]``, without class and register tokens."""

    def __init__(self, prefix: int, side: int) -> None:
        self.prefix = prefix
        self.side = side

    def __call__(self, tokens: Tensor) -> Tensor:
        positions = tokens[:, self.prefix :].transpose(1, 2)
        return torch.unflatten(positions, 2, (self.side, self.side))


def _from_tokens(body: nn.Module, tokens: Tensor) -> _FromTokens:
    prefix: int = getattr(body, "num_prefix_tokens", 0)
    count = tokens.shape[1] - prefix
    side = math.isqrt(count)
    if side * side != count:
        raise ValueError(f"{count} tokens are not a square map")
    return _FromTokens(prefix, side)
