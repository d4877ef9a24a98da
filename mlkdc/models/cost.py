"""What a model costs: parameters and multiply-adds."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mlkdc.models.model import MultiLabelModel
from mlkdc.records.results import ModelSize


def model_size(model: MultiLabelModel, image_size: int) -> ModelSize:
    """Parameters and multiply-adds (convolutions and matrix products) for one image, backbone and head apart.

    Args:
        model: may be re-parameterized; it is not changed or moved.
        image_size: side of the image in pixels.
    """
    # On the meta device shapes are propagated and nothing is computed; a copy, so that the model stays where it is.
    model = copy.deepcopy(model).to("meta").eval()
    pixels = torch.zeros(1, 3, image_size, image_size, device="meta")
    backbone_counter, head_counter = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with torch.no_grad():
        with backbone_counter:
            features = model.backbone(pixels)
        with head_counter:
            model.head(features)
    params_backbone, params_head = _parameters(model.backbone), _parameters(model.head)
    macs_backbone, macs_head = _multiply_adds(backbone_counter), _multiply_adds(head_counter)
    return ModelSize(
        params=params_backbone + params_head,
        params_backbone=params_backbone,
        params_head=params_head,
        macs=macs_backbone + macs_head,
        macs_backbone=macs_backbone,
        macs_head=macs_head,
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _multiply_adds(counter: FlopCounterMode) -> int:
    # The counter takes a multiplication and its addition for two operations, papers on mobile networks for one.
    return counter.get_total_flops() // 2
