"""Feature maps of all resolutions of a network, taken in one pass through it."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torchvision.ops.misc import Permute

from mlkdc.errors import UsageError

#: Stages at most: the last four resolutions, 1/4 to 1/32 of the image in most networks.
MOST_STAGES = 4


def intermediates(body: Any, x: Tensor, source: str) -> tuple[list[Tensor], Tensor]:
    """The last map ``[b, C, h, w]`` of each resolution in a body, finest first, and the body's output.

    timm's models return theirs (``forward_intermediates``). The bodies made from torchvision are sequences, of which
    every layer's output is looked at.

    Args:
        body: the network up to its last feature map.
        x: ``float[b, 3, s, s]``.
        source: the body's name, for the message.

    Raises:
        UsageError: the network is neither.
    """
    # Not isinstance: a subclass of Sequential may have a forward that does more than run its layers.
    if type(body) is nn.Sequential:
        return _walk(body, x)
    if not hasattr(body, "forward_intermediates"):
        raise UsageError(
            f"{source} does not give the feature maps of its stages, which a loss term of this run compares; "
            "choose another model, or a method that compares other outputs"
        )
    # Only the last block of each resolution is requested: transformers have dozens, all of one size.
    last_block = {}
    for index, block in enumerate(body.feature_info):
        last_block[block["reduction"]] = index
    output, block_maps = body.forward_intermediates(x, indices=sorted(last_block.values()))
    maps: list[Tensor] = []
    for block_map in block_maps:
        append_coarser(maps, block_map)
    return maps, output


def append_coarser(maps: list[Tensor], latest: Tensor) -> None:
    """Append a map ``[b, C, h, w]``, replacing those before it that are no finer."""
    while maps and _positions(maps[-1]) <= _positions(latest):
        maps.pop()
    maps.append(latest)


def _positions(feature_map: Tensor) -> int:
    return feature_map.shape[2:].numel()


def _walk(body: nn.Sequential, x: Tensor) -> tuple[list[Tensor], Tensor]:
    maps: list[Tensor] = []
    ends_with_channels = False
    for layer in _layers(body):
        x = layer(x)
        if isinstance(layer, Permute):  # torchvision's Swin keeps [b, h, w, C] between two of these
            ends_with_channels = layer.dims == [0, 2, 3, 1]
        feature_map = x
        if ends_with_channels:
            feature_map = x.permute(0, 3, 1, 2)
        append_coarser(maps, feature_map)
    return maps, x


def _layers(body: nn.Sequential) -> Iterator[nn.Module]:
    """The layers of nested sequences. Subclasses, such as a convolution with its activation, stay complete."""
    for layer in body:
        if type(layer) is nn.Sequential:
            yield from _layers(layer)
        else:
            yield layer
