"""The student's earlier predictions: of the epoch before, and of the step before."""

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from mlkdc.errors import UsageError
from mlkdc.losses import Outputs
from mlkdc.recipe import Recipe
from mlkdc.train.sources.base import SOURCES, Drawn, Source, SourceContext, Step


@SOURCES.register("last_epoch")
class LastEpoch(Source):
    """The student's logits of the epoch before, as they were when the image was trained on (PS-KD).

    Args:
        images: how many there are to train on.
        classes: number of labels.
        accelerator: knows the device and the processes.
    """

    def __init__(self, images: int, classes: int, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.earlier = torch.full((images, classes), torch.nan, device=accelerator.device)
        self.present = self.earlier.clone()

    @classmethod
    def make(cls, context: SourceContext) -> "LastEpoch":
        """See :class:`Source`."""
        return cls(context.images, context.classes, context.accelerator)

    def start(self, epoch: int) -> None:
        """See :class:`Source`."""
        self.present.fill_(torch.nan)

    def outputs(self, step: Step) -> Outputs:
        """``logits [b, q]``; a row of NaN for an image that the epoch before did not have."""
        return Outputs(self.earlier[step.index])

    def learned(self, step: Step, student: Outputs) -> None:
        """See :class:`Source`."""
        self.present[step.index] = student.logits.detach().float()

    def finish(self, epoch: int) -> None:
        """See :class:`Source`."""
        # Every process has seen other images; of an image that several have seen, the mean is kept.
        seen = self.accelerator.reduce((~self.present.isnan()).float(), "sum")
        total = self.accelerator.reduce(self.present.nan_to_num(nan=0.0), "sum")
        self.earlier = torch.where(seen > 0, total / seen.clamp(min=1), torch.nan)

    def state(self) -> dict[str, Any]:
        """See :class:`Source`."""
        return {"logits": self.earlier}

    def restore(self, state: dict[str, Any]) -> None:
        """See :class:`Source`."""
        self.earlier = state["logits"].to(self.earlier.device)


@SOURCES.register("last_batch")
class LastBatch(Source):
    """The step before: its new images come again as the first part of this one, with their logits of then (DLB).

    They come in a second, independent view, as in the authors' code: all of a step's outputs are of that view, the
    logits of then of the first one. (Their code passes old and new images separately, and goes on over the end of an
    epoch; here they are one batch to the normalization, and an epoch begins with new images.)

    Args:
        classes: number of labels.
    """

    second_views = True
    repeats_images = True

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.images: Drawn | None = None
        self.logits: Tensor | None = None
        self.repeated = 0

    @classmethod
    def check(cls, recipe: Recipe) -> None:
        """See :class:`SourceNeeds`."""
        if recipe.train.accumulate > 1:
            raise UsageError(
                f"{recipe.distill.method} compares each batch with the weights of the step before, which batches of "
                "one step (train.accumulate) share: `--set train.accumulate=1`"
            )
        method, size = recipe.distill.method, recipe.train.batch_size
        if size % 2:
            raise UsageError(
                f"train.batch_size: expected an even number, as {method} repeats half of each batch, got {size}"
            )

    @classmethod
    def make(cls, context: SourceContext) -> "LastBatch":
        """See :class:`Source`."""
        return cls(context.classes)

    def start(self, epoch: int) -> None:
        """See :class:`Source`."""
        self.images = self.logits = None

    def join(self, drawn: Drawn) -> Drawn:
        """The new images of the step before, in their second view, before those of this one."""
        last, self.images, self.repeated = self.images, drawn, 0
        # No logits: this is the first step of an epoch, or what was drawn before was no step of training.
        if last is None or self.logits is None:
            return drawn
        self.repeated = len(self.logits)
        views, second_views = {}, {}
        for size, new in drawn.views.items():
            views[size] = torch.cat([last.second_views[size], new])
            # Whoever compares two views of an image has two of the repeated ones as well.
            second_views[size] = torch.cat([last.views[size], drawn.second_views[size]])
        return Drawn(torch.cat([last.index, drawn.index]), views, second_views)

    def outputs(self, step: Step) -> Outputs:
        """``logits [b, q]``; rows of NaN for new images."""
        # NaN, not 0, which is a prediction like any other.
        logits = step.targets.new_full((len(step.index), self.classes), torch.nan)
        if self.logits is not None:
            logits[: self.repeated] = self.logits
        return Outputs(logits)

    def learned(self, step: Step, student: Outputs) -> None:
        """See :class:`Source`."""
        self.logits = student.logits[self.repeated :].detach().float()
