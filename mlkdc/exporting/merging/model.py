"""The model that is exported: pixels in, probabilities out."""

import copy

import torch
from torch import Tensor, nn

from mlkdc.exporting.merging.fold import fold_input_scale

# About the standard deviation of an image's pixels; a power of two, so that nothing is rounded.
PIXEL_SCALE = 64.0


class ExportModel(nn.Module):
    """``[n, 3, s, s]`` RGB in 0..255, floating point or uint8 -> ``float32[n, q]`` probabilities.

    The mean is subtracted from the image, and the division is in the first convolution's weights. That is exact
    under any padding: a padded zero stands for the mean before and after. The other exact ways are worse:
    padding with the mean is possible only where all channels have one mean; mean and deviation as two operations cost
    one pass more; a constant map added behind the convolution, in place of the mean, is larger than the image, and
    comes between the convolution and the activation that would be fused with it.

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
        if scale is not None:
            scale = scale.view(1, -1, 1, 1)
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("scale", scale)

    def logits(self, image: Tensor) -> Tensor:
        """``float32[n, q]``."""
        pixels = image.to(torch.float32) - self.mean
        if self.scale is not None:
            pixels = pixels * self.scale
        logits: Tensor = self.head(self.backbone(pixels)).logits
        return logits

    def forward(self, image: Tensor) -> Tensor:
        return self.logits(image).sigmoid()


@torch.no_grad()
def for_half(model: ExportModel, shape: tuple[int, ...]) -> ExportModel:
    """A copy that shrinks the pixels and not the weights of the first convolution.

    Those are small where the pixels' scale is in them. Below 2^-14 half precision has fewer digits, and some
    converters and processors make them zeros; so it is with the scales of their int8 form. With the
    copy, ncnn's probabilities are closer to the model's.

    Args:
        model: float32.
        shape: of its input, ``(1, 3, s, s)``.
    """
    model = copy.deepcopy(model)
    if model.scale is not None:
        return model
    if fold_input_scale(model.backbone, torch.zeros(shape), torch.full((3,), PIXEL_SCALE)):
        model.scale = torch.tensor(1 / PIXEL_SCALE)
    return model
