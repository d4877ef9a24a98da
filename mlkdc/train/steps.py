"""Which batches make an optimizer step together, and in which steps the backbone is not trained."""

import math
from dataclasses import dataclass

from mlkdc.recipe import Train


@dataclass(frozen=True)
class Steps:
    """The steps of a training. The last step of an epoch has the batches that are left.

    Args:
        spec: how to optimize.
        batches: in an epoch.
    """

    spec: Train
    batches: int

    @property
    def per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return math.ceil(self.batches / self.spec.accumulate)

    def first_of(self, batch: int) -> int:
        """The first of the batches that make a step together with this one, both numbered from 0 in their epoch."""
        return batch - batch % self.spec.accumulate

    def size_of(self, batch: int) -> int:
        """How many batches make a step together with this one, itself included."""
        return min(self.spec.accumulate, self.batches - self.first_of(batch))

    def ends(self, batch: int) -> bool:
        """Whether the optimizer's update comes after this batch."""
        return batch + 1 == self.first_of(batch) + self.size_of(batch)

    def done(self, epoch: int, batch: int) -> int:
        """Complete steps before this batch, from the beginning of the training."""
        return epoch * self.per_epoch + batch // self.spec.accumulate

    def trains_backbone(self, epoch: int, batch: int) -> bool:
        """Whether ``train.head_first`` is over, a fraction of the steps of all epochs (``train.stop_after`` or not)."""
        return self.done(epoch, batch) >= round(self.spec.head_first * self.spec.epochs * self.per_epoch)
