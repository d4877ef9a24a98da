"""How much each layer alone costs when it is quantized to int8."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlkdc.exporting.merging.merge import ExportModel

BATCH = 32


@torch.no_grad()
def weighted_modules(model: ExportModel, image: Tensor) -> list[str]:
    """Dotted names of the Conv2d and Linear modules that run, in the order they first do.

    Args:
        model: in eval mode.
        image: ``[1, 3, s, s]`` RGB in 0..255, for the forward pass that is watched.
    """
    ran: dict[str, None] = {}

    def note(name: str, _: Tensor) -> None:
        ran[name] = None

    with _watched(model, note):
        model.logits(image)
    return list(ran)


@torch.no_grad()
def sensitivity(model: ExportModel, images: np.ndarray, *, per_channel: bool) -> dict[str, float]:
    """The mean absolute change of the logits when one module is quantized and all others are not.

    For module m: mean over images and classes of ``|logits(x; m quantized) - logits(x)|``, in units of logits. The
    weights of m are rounded to -127..127 steps of ``max|w| / 127``, its input to 0..255 steps of ``(hi - lo) / 255``,
    with lo and hi the least and greatest input over these images, and zero. Biases stay as they are. It takes one
    forward pass of all images for each module.

    Args:
        model: in eval mode, on the CPU; afterwards as it was.
        images: ``uint8[n, 3, s, s]``, at least one.
        per_channel: one step per output channel of a weight instead of one per weight.

    Returns:
        By the names of :func:`weighted_modules`, in their order.
    """
    batches = torch.from_numpy(images).split(BATCH)
    ranges: dict[str, tuple[float, float]] = {}

    def widen(name: str, x: Tensor) -> None:
        low, high = ranges.get(name, (0.0, 0.0))
        ranges[name] = min(low, x.min().item()), max(high, x.max().item())

    with _watched(model, widen):
        expected = [model.logits(batch) for batch in batches]
    changes = {}
    for name, (low, high) in ranges.items():
        with quantized(model.get_submodule(name), low, high, per_channel):
            totals = [(model.logits(x) - y).abs().double().sum() for x, y in zip(batches, expected, strict=True)]
        changes[name] = sum(total.item() for total in totals) / sum(each.numel() for each in expected)
    return changes


@contextlib.contextmanager
def _watched(model: nn.Module, see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call ``see(name, input)`` before each run of a Conv2d or Linear."""
    with contextlib.ExitStack() as hooks:
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                hook = module.register_forward_pre_hook(lambda _, args, name=name: see(name, args[0]))
                hooks.callback(hook.remove)
        yield


@contextlib.contextmanager
def quantized(module: Any, low: float, high: float, per_channel: bool, reduce_range: bool = False) -> Iterator[None]:
    """A Conv2d or Linear with weights and input rounded as int8 would, put back whatever happens.

    Args:
        low, high: of the input, around zero.
        per_channel: one step per output channel of a weight instead of one per weight.
        reduce_range: half of the steps for weights.
    """
    step = max((high - low) / 255, 1e-12)
    zero = round(-low / step)
    weight = module.weight
    hook = module.register_forward_pre_hook(
        lambda _, args: torch.fake_quantize_per_tensor_affine(args[0], step, zero, 0, 255)
    )
    try:
        module.weight = nn.Parameter(_rounded(weight, per_channel, 63 if reduce_range else 127), requires_grad=False)
        yield
    finally:
        hook.remove()
        module.weight = weight


def _rounded(weight: Tensor, per_channel: bool, most: int) -> Tensor:
    largest = weight.flatten(1).abs().amax(1)
    steps = (largest if per_channel else largest.max().expand_as(largest)).clamp_min(1e-12) / most
    zeros = torch.zeros_like(steps, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, steps, zeros, 0, -most, most)
