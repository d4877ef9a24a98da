"""From the trained model to the one that is exported: everything linear merged, pixels in, probabilities out."""

import copy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlkdc.errors import MlkdcError
from mlkdc.exporting.merging.fold import fold_batchnorm, fold_input_scale, merge_branches, tally
from mlkdc.exporting.merging.head import FoldedHead
from mlkdc.models import DecoderHead, MultiLabelModel, count

# Of the largest logit. Float32 rounding stays below a tenth of it; a border padded with the wrong value does not.
TOLERANCE = 1e-4
# About the deviation of a picture's pixels; a power of two, so that nothing is rounded.
PIXELS = 64.0


@dataclass(frozen=True)
class MergeReport:
    """What was merged.

    Args:
        branches: parallel branches that were added into the kernel of the one beside them.
        conv_bn: BatchNorms that were folded into the convolution before them, those in branches included.
        normalization: whether the input's scale went into the first convolution; else it stays an operation.
        head: whether the head had constant queries, and what depends on them alone was computed once.
        before, after: params and macs (multiply-adds of one image), whole and for ``_backbone`` and ``_head``.
        max_logit_difference: the largest, on noise and on pictures with saturated borders.
    """

    branches: int
    conv_bn: int
    normalization: bool
    head: bool
    before: dict[str, int]
    after: dict[str, int]
    max_logit_difference: float

    def flat(self) -> dict[str, Any]:
        """As it stands in manifest.json: ``before`` and ``after`` become suffixes of their keys."""
        values = asdict(self)
        sizes = {f"{key}_{when}": n for when in ("before", "after") for key, n in values.pop(when).items()}
        return {**values, **sizes}


class ExportModel(nn.Module):
    """``[n, 3, s, s]`` RGB in 0..255, floating point or uint8 -> ``float32[n, q]`` probabilities.

    The mean is subtracted from the picture, and the division is in the first convolution's weights. That is exact
    under any padding: a padded zero stands for the mean before and after. The other exact ways were timed in ONNX
    Runtime at 224 px with 1 and 2 threads, as ratios to a stem without any normalization: subtracting 1.03-1.07,
    padding with the mean (possible only where all channels have one mean) the same, mean and deviation as two
    operations 1.05-1.7, a constant map added behind the convolution, in place of the mean, 1.2-1.4: it is larger than
    the picture, and comes between the convolution and the activation that would be fused with it.

    Args:
        backbone, head: of a merged model.
        mean: ``float[3]`` in 0..255.
        scale: ``float[3]``, or None where the first convolution has it in its weights.
    """

    mean: Tensor
    scale: Tensor | None

    def __init__(self, backbone: nn.Module, head: nn.Module, mean: Tensor, scale: Tensor | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("scale", None if scale is None else scale.view(1, -1, 1, 1))

    def logits(self, image: Tensor) -> Tensor:
        """``float32[n, q]``."""
        pixels = image.to(torch.float32) - self.mean
        if self.scale is not None:
            pixels = pixels * self.scale
        return self.head(self.backbone(pixels)).logits

    def forward(self, image: Tensor) -> Tensor:
        return self.logits(image).sigmoid()


def _probes(size: int) -> Tensor:
    """Noise, and what shows a border that is padded wrongly: flat pictures and frames of 0 and of 255."""
    noise = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0)) * 255
    probes = torch.cat([noise, torch.zeros_like(noise[:1]), torch.full_like(noise[:1], 255)])
    for index, value in ((1, 0.0), (2, 255.0)):
        frame = torch.ones(size, size, dtype=torch.bool)
        frame[2:-2, 2:-2] = False
        probes[index, :, frame] = value
    return probes


@torch.no_grad()
def merge(model: MultiLabelModel, image_size: int) -> tuple[ExportModel, MergeReport]:
    """Merge branches, BatchNorms and the input normalization into convolutions, fold the head, and prove it.

    Args:
        model: on the CPU; left as it is.
        image_size: side in pixels of the pictures that the merged model is checked and counted at.

    Returns:
        A new model in eval mode, and what was merged.

    Raises:
        MlkdcError: the merged model's logits differ by more than ``TOLERANCE`` of the largest logit.
    """
    merged = copy.deepcopy(model).eval()
    probes = _probes(image_size)
    before, expected = count(merged, image_size), merged(probes)

    found = tally(merged, probes[:1])
    merge_branches(merged)
    fold_batchnorm(merged, probes[:1])
    left = tally(merged, probes[:1])
    if folded := isinstance(merged.head, DecoderHead):
        merged.head = FoldedHead(merged.head)
    after = count(merged, image_size)
    scale = 1 / merged.std.flatten()
    scaled = fold_input_scale(merged.backbone, merged.normalize(probes[:1]), scale)
    exported = ExportModel(merged.backbone, merged.head, merged.mean, None if scaled else scale).eval()

    difference = (exported.logits(probes) - expected).abs().max().item()
    largest = expected.abs().max().item()
    # "not <=" and not ">": a NaN on either side must not pass
    if not difference <= TOLERANCE * largest:
        raise MlkdcError(
            f"merging changed the model: logits differ by up to {difference:.2g}, expected at most {TOLERANCE:g} of "
            f"the largest one ({largest:.3g}); this is a fault in merging this architecture, please report it"
        )
    gone = found.branches - left.branches, found.norms - left.norms
    return exported, MergeReport(*gone, scaled, folded, before, after, difference)


@torch.no_grad()
def for_half(model: ExportModel, shape: tuple[int, ...]) -> ExportModel:
    """A copy that shrinks the pixels and not the weights of the first convolution.

    Those are small where the pixels' scale is in them. Below 2^-14 half precision has fewer digits, and some
    converters and processors make them zeros; so it is with the scales of their int8 form. On trained models ncnn's
    probabilities are up to three times closer with it, at no measurable cost.

    Args:
        model: float32.
        shape: of its input, ``(1, 3, s, s)``.
    """
    model = copy.deepcopy(model)
    if model.scale is None and fold_input_scale(model.backbone, torch.zeros(shape), torch.full((3,), PIXELS)):
        model.scale = torch.tensor(1 / PIXELS)
    return model
