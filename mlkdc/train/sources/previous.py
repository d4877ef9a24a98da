"""The student one step behind."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from mlkdc.losses import Outputs
from mlkdc.models import MultiLabelModel
from mlkdc.train.learner import batch_statistics_only, outputs_of
from mlkdc.train.sources.base import LOGITS, SOURCES, Source, SourceContext, Step


@SOURCES.register("previous")
class Previous(Source):
    """The student as it was one step ago, on the same images (MSKD's Step-SD).

    Args:
        model: the student.
    """

    def __init__(self, model: MultiLabelModel) -> None:
        self.model = model
        self.copy = copy.deepcopy(model).requires_grad_(False)

    @classmethod
    def make(cls, context: SourceContext) -> "Previous":
        """See :class:`Source`."""
        return cls(context.student)

    def outputs(self, step: Step) -> Outputs:
        """See :class:`Source`."""
        # In the student's mode: normalized by the batch as the student's outputs are, the two differ by a step only.
        self.copy.train(self.model.training)
        self.copy.backbone.train(self.model.backbone.training)
        with batch_statistics_only(self.copy):
            outputs, _ = outputs_of(self.copy, step.pixels, step.targets, LOGITS)
        return outputs

    def updating(self) -> None:
        """See :class:`Source`."""
        # In place and in one call: a new copy of the model for every step would cost as much as its pass.
        torch._foreach_copy_(_tensors(self.copy), _tensors(self.model))

    def state(self) -> dict[str, Any]:
        """See :class:`Source`."""
        return {"model": self.copy.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """See :class:`Source`."""
        self.copy.load_state_dict(state["model"])


def _tensors(model: nn.Module) -> list[Tensor]:
    tensors = []
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():  # the others count batches
            tensors.append(tensor.detach())
    return tensors
