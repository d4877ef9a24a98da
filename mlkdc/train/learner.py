"""What is taken from a model in one pass: just the outputs that some loss term needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import StochasticDepth

from mlkdc.losses import Objective, Outputs
from mlkdc.models import MultiLabelModel
from mlkdc.train.input.patches import cut

#: What draws anew in every pass.
RANDOM = (nn.modules.dropout._DropoutNd, DropPath, StochasticDepth)

#: How often a head's dropout is drawn where a term needs samples.
SAMPLES = 4


def outputs_of(
    model: MultiLabelModel, images: Tensor, targets: Tensor, fields: frozenset[str], boxes: Tensor | None = None
) -> tuple[Outputs, Tensor]:
    """The named fields of :class:`Outputs`, by one pass through the backbone, and the feature map.

    Args:
        model: student or teacher.
        images: ``[b, 3, s, s]`` in 0..255.
        targets: ``[b, q]``, to know which embeddings to keep.
        fields: names of fields.
        boxes: ``[b', S, 4]``, b' <= b, where ``regions`` are needed.
    """
    pixels = model.normalize(images)
    outputs = Outputs()
    if "stages" in fields:
        stages = model.backbone.stages(pixels)
        outputs, features = Outputs(stages=stages), stages[-1]
    else:
        features = model.backbone(pixels)
    # The order of these parts is that in which their gradients are added up: another one rounds them otherwise.
    embeddings: Tensor | None = None
    if fields & {"logits", "embeddings"}:
        logits, embeddings = model.head(features, labelwise="embeddings" in fields)
        outputs = replace(outputs, logits=logits)
    if "regions" in fields:
        assert boxes is not None
        outputs = replace(outputs, regions=_regions(model, features, boxes))
    if "embeddings" in fields and embeddings is not None:
        outputs = replace(outputs, embeddings=embeddings[targets.bool()])
    if "pooled" in fields:
        outputs = replace(outputs, pooled=features.mean((2, 3)))
    return outputs, features


def _regions(model: MultiLabelModel, features: Tensor, boxes: Tensor) -> Tensor:
    """``[b', S, q]``: the head's logits of parts of the feature map."""
    images, regions, _ = boxes.shape
    # A region covers about half the side: at the map's resolution it has half as many positions.
    height, width = (features.shape[2] + 1) // 2, (features.shape[3] + 1) // 2
    parts = cut(features[:images], boxes, height, width)
    logits: Tensor = model.head(parts).logits
    return logits.reshape(images, regions, -1)


class Learner(nn.Module):
    """The student and the terms' layers, with one forward call for all that carries gradient.

    One call, because wrappers for several processes and for mixed precision hook into ``forward``.

    Args:
        model: the student.
        objective: says which outputs are needed.

    Attributes:
        features: the last feature map of the pass before, with its gradient's graph, which all outputs come from.
    """

    def __init__(self, model: MultiLabelModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.layers = nn.ModuleDict()
        self.fields = objective.fields("student") | objective.fields("twin")
        self.samples = "samples" in objective.sources
        self.twin = "twin" in objective.sources
        self.features: Tensor | None = None

    def forward(
        self, images: Tensor, targets: Tensor, boxes: Tensor | None = None, twins: Tensor | None = None
    ) -> dict[str, Outputs]:
        """Views ``[b, 3, s, s]`` (and a second view of the same images) to outputs by source.

        A second view that no term needs, because it was drawn for another source, is not looked at.
        """
        outputs = {}
        if not self.twin:
            outputs["student"], features = outputs_of(self.model, images, targets, self.fields, boxes)
        else:
            assert twins is not None
            # Both views in one pass: batch normalization sees them as one batch.
            views, targets_of_both = torch.cat([images, twins]), targets.repeat(2, 1)
            both, features = outputs_of(self.model, views, targets_of_both, self.fields, boxes)
            outputs["student"], outputs["twin"] = _halves(both, len(images), int(targets.sum()))
        self.features = features
        if self.samples:
            outputs["samples"] = self._sampled(features[: len(images)].detach())
        return outputs

    @torch.no_grad()
    def _sampled(self, features: Tensor) -> Outputs:
        # Only the head has dropout that is drawn: the backbone's pass is shared.
        draws = [self.model.head(features).logits for _ in range(SAMPLES)]
        return Outputs(torch.stack(draws, dim=1))


def _halves(both: Outputs, images: int, positives: int) -> tuple[Outputs, Outputs]:
    """The outputs of the first and of the second views; of the second, only what has a row for each image."""
    rows = replace(both, embeddings=None, regions=None)
    first = rows.map(lambda value: value[:images])
    second = rows.map(lambda value: value[images:])
    if both.embeddings is not None:
        first = replace(first, embeddings=both.embeddings[:positives])
    return replace(first, regions=both.regions), second


@contextmanager
def batch_statistics_only(model: nn.Module) -> Iterator[None]:
    """Normalize by the batch at hand, without dropout and without moving the running statistics.

    For extra passes through a model in training: crops must not enter the statistics that evaluation uses.
    """
    norms: list[tuple[_BatchNorm, float | None]] = []
    dropouts: list[tuple[nn.Module, bool]] = []
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            norms.append((module, module.momentum))
            module.momentum = 0.0
        elif isinstance(module, RANDOM):
            dropouts.append((module, module.training))
            module.eval()
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum
        for dropout, training in dropouts:
            dropout.train(training)
