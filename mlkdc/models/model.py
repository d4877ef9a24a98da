"""A backbone and a head as one model that takes plain 0..255 RGB."""

import torch
from torch import Tensor, nn

from mlkdc.models.backbone import Backbone
from mlkdc.models.heads import HeadOutput
from mlkdc.records.manifest import Preprocess


class MultiLabelModel(nn.Module):
    """Backbone and head, which can be called separately, and the preprocessing that belongs to them.

    Args:
        backbone: normalized images ``[b, 3, s, s]`` to a feature map ``[b, C, h, w]``.
        head: feature map to :class:`~mlkdc.models.HeadOutput`.
        preprocess: size in pixels and fit, and mean and standard deviation in units of 0..1, of the images.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, head: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.preprocess = preprocess
        # In units of 0..255; not in the state dict, as they come with the recipe.
        self.register_buffer("mean", 255 * torch.tensor(preprocess.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(preprocess.std).view(1, 3, 1, 1), persistent=False)

    def normalize(self, x: Tensor) -> Tensor:
        """RGB ``[b, 3, s, s]`` in 0..255 to what the backbone was trained on."""
        return (x - self.mean) / self.std

    def features(self, x: Tensor) -> Tensor:
        """RGB ``[b, 3, s, s]`` in 0..255 to the feature map ``[b, C, h, w]``."""
        feature_map: Tensor = self.backbone(self.normalize(x))
        return feature_map

    def forward(self, x: Tensor) -> Tensor:
        """RGB ``[b, 3, s, s]`` in 0..255 to logits ``[b, q]``."""
        output: HeadOutput = self.head(self.features(x))
        return output.logits
