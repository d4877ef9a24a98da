"""What is taken from a model in one pass: just the outputs that some loss term asks for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import StochasticDepth

from mlkdc.losses import Objective, Outputs
from mlkdc.models import MultiLabelModel
from mlkdc.train.input.patches import cut

#: What draws anew in every pass.
RANDOM = (nn.modules.dropout._DropoutNd, DropPath, StochasticDepth)

#: How often a head's dropout is drawn where a term wants samples.
SAMPLES = 4


def outputs_of(
    model: MultiLabelModel, images: Tensor, targets: Tensor, asked: frozenset[str], boxes: Tensor | None = None
) -> tuple[Outputs, Tensor]:
    """The asked-for fields of :class:`Outputs`, by one pass through the backbone, and the feature map.

    Args:
        model: student or teacher.
        images: ``[b, 3, s, s]`` in 0..255.
        targets: ``[b, q]``, to know which embeddings to keep.
        asked: names of fields.
        boxes: ``[b', S, 4]``, b' <= b, where ``regions`` are asked for.
    """
    pixels = model.normalize(images)
    stages = model.backbone.stages(pixels) if "stages" in asked else None
    features = stages[-1] if stages else model.backbone(pixels)
    logits: Any = None
    embeddings = None
    if {"logits", "embeddings"} & asked:
        logits, embeddings = model.head(features)
    regions = None
    if "regions" in asked:
        assert boxes is not None
        # A region covers about half the side: at the map's own resolution it has half as many positions.
        height, width = ((side + 1) // 2 for side in features.shape[2:])
        parts = cut(features[: len(boxes)], boxes, height, width)
        regions = model.head(parts).logits.unflatten(0, boxes.shape[:2])
    outputs = Outputs(
        logits,
        embeddings=embeddings[targets.bool()] if "embeddings" in asked and embeddings is not None else None,
        pooled=features.mean((2, 3)) if "pooled" in asked else None,
        regions=regions,
        stages=stages,
    )
    return outputs, features


class Learner(nn.Module):
    """The student and the terms' own layers, with one forward call for all that carries gradient.

    One call, because wrappers for several processes and for mixed precision hook into ``forward``.

    Args:
        model: the student.
        objective: says what is asked for.
    """

    def __init__(self, model: MultiLabelModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.layers = nn.ModuleDict()
        self.asked = objective.asked("student") | objective.asked("twin")
        self.samples = "samples" in objective.sources

    def forward(
        self, images: Tensor, targets: Tensor, boxes: Tensor | None = None, twin: Tensor | None = None
    ) -> dict[str, Outputs]:
        """Views ``[b, 3, s, s]`` (and a second view of the same images) to outputs by source."""
        if twin is None:
            student, features = outputs_of(self.model, images, targets, self.asked, boxes)
            found = {"student": student}
        else:
            # Both views in one pass: batch normalization sees them as one batch.
            both, features = outputs_of(self.model, torch.cat([images, twin]), targets.repeat(2, 1), self.asked, boxes)
            first, second = _halves(both, len(images), int(targets.sum()))
            found = {"student": first, "twin": second}
        if self.samples:
            found["samples"] = self._sampled(features[: len(images)].detach())
        return found

    @torch.no_grad()
    def _sampled(self, features: Tensor) -> Outputs:
        draws = [self.model.head(features).logits for _ in range(SAMPLES)]
        return Outputs(torch.stack(draws, dim=1))


def _halves(both: Outputs, images: int, positives: int) -> tuple[Outputs, Outputs]:
    rows = replace(both, embeddings=None, regions=None)
    first, second = rows.map(lambda value: value[:images]), rows.map(lambda value: value[images:])
    if both.embeddings is not None:
        first = replace(first, embeddings=both.embeddings[:positives])
    return replace(first, regions=both.regions), second


@contextmanager
def batch_statistics_only(model: nn.Module) -> Iterator[None]:
    """Normalize by the batch at hand, without dropout and without moving the running statistics.

    For extra passes through a model in training: crops must not enter the statistics that evaluation uses.
    """
    norms = [(module, module.momentum) for module in model.modules() if isinstance(module, _BatchNorm)]
    dropouts = [(module, module.training) for module in model.modules() if isinstance(module, RANDOM)]
    for norm, _ in norms:
        norm.momentum = 0.0
    for dropout, _ in dropouts:
        dropout.eval()
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum
        for dropout, training in dropouts:
            dropout.train(training)
