"""A backbone and a head as one model that takes plain 0..255 RGB."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mlkdc.models.backbone import Backbone, make_backbone
from mlkdc.models.heads import HeadOutput, make_head
from mlkdc.models.weights import load_first_weights
from mlkdc.recipe import Model
from mlkdc.types import Preprocess


class MultiLabelModel(nn.Module):
    """Backbone and head, callable apart, and the preprocessing that belongs to them.

    Args:
        backbone: normalized pictures to a feature map ``[b, C, h, w]``.
        head: feature map to :class:`HeadOutput`.
        preprocess: size, mean and standard deviation of the pictures.
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
        return self.backbone(self.normalize(x))

    def forward(self, x: Tensor) -> Tensor:
        """RGB ``[b, 3, s, s]`` in 0..255 to logits ``[b, q]``."""
        output: HeadOutput = self.head(self.features(x))
        return output.logits


def build_model(spec: Model, num_classes: int, image_size: int) -> MultiLabelModel:
    """Build a recipe's model and load its first weights; random parts follow torch's global seed.

    Raises:
        UsageError: an unknown name, a width or image size the model does not have, weights that are not
            reachable or belong to another model.
    """
    backbone = make_backbone(spec.model, spec.width, image_size)
    head = make_head(spec.head, backbone.channels, num_classes)
    model = MultiLabelModel(backbone, head, Preprocess(image_size, backbone.mean, backbone.std))
    load_first_weights(model, spec)
    return model


def count(model: nn.Module, image_size: int) -> dict[str, int]:
    """Parameters and multiply-adds (convolutions and matrix products) for one image, backbone and head apart.

    Args:
        model: has ``backbone`` and ``head``; may be re-parameterized.
        image_size: side of the picture in pixels.
    """
    # On the meta device nothing is computed; a copy, so that the model stays where it is.
    model = copy.deepcopy(model).to("meta").eval()
    backbone: Any = model.backbone
    head: Any = model.head
    features, backbone_macs = _macs(backbone, torch.zeros(1, 3, image_size, image_size, device="meta"))
    _, head_macs = _macs(head, features)
    parameters = {"params_backbone": _parameters(backbone), "params_head": _parameters(head)}
    return {
        "params": sum(parameters.values()),
        **parameters,
        "macs": backbone_macs + head_macs,
        "macs_backbone": backbone_macs,
        "macs_head": head_macs,
    }


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _macs(module: nn.Module, x: Tensor) -> tuple[Any, int]:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = module(x)
    return output, counter.get_total_flops() // 2


def prefers_channels_last(model: nn.Module) -> bool:
    """Whether training on a CPU is faster, and safe, with ``torch.channels_last``.

    Not for models without convolutions past the patch embedding, and not for RepVGG: a 1x1 convolution of
    stride above 1 on 3 channels in this layout corrupts memory in the backward pass (torch 2.15, CPU).
    """
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    crashes = any(
        conv.in_channels == 3 and conv.kernel_size == (1, 1) and conv.stride != (1, 1) for conv in convolutions
    )
    return len(convolutions) > 1 and not crashes


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups: decay on weights, none on biases and normalization (everything of one dimension)."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
