"""MulSupCon: supervised contrastive learning with several labels (Zhang and Wu, AAAI 2024)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlkdc.losses.base import TERMS, Batch, Method, add_method
from mlkdc.losses.common import LikeBCE
from mlkdc.losses.pairs import distance_matrix

DIMENSIONS = 128


@TERMS.register("mulsupcon")
class MulSupCon(LikeBCE):
    """For every image and each of its labels, minus the log-softmax of its similarity to another image with that
    label among those to all other images, mean over such images; then the mean over all (image, label) that have
    such an image, 0 if none has. Similarities are cosines of projected pooled features over the temperature.

    The paper trains it alone, before the classifier, with two views, a momentum encoder and a queue of earlier
    images. Here it stands beside the cross-entropy and compares the images of one batch; its projection head has
    no batch normalization or dropout, which the release's has.

    Args:
        form: see :class:`LikeBCE`.
        temperature: the release's.
    """

    needs = frozenset({"student.pooled"})
    relational = True

    def __init__(self, form: str = "reference", temperature: float = 0.1) -> None:
        super().__init__(form)
        self.temperature = temperature

    def build(self, example: Batch) -> None:
        """The projection head: two linear layers to 128 dimensions."""
        assert example.student.pooled is not None
        channels = example.student.pooled.shape[1]
        self.layers = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, DIMENSIONS))

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert self.layers is not None
        projected = F.normalize(self.layers(batch.student.pooled), dim=1)
        # The cosine but for a constant, which a softmax drops. Equal vectors get no gradient at all from distances
        # by subtraction; from a matrix product they would get what rounding leaves.
        alike = -distance_matrix(projected).square() / (2 * self.temperature)
        own = torch.eye(len(alike), dtype=torch.bool, device=alike.device)
        # The lowest finite number, not -inf: the only image of a batch would get NaN.
        log_share = alike.masked_fill(own, torch.finfo(alike.dtype).min).log_softmax(dim=1)
        labels = batch.targets.to(alike.dtype)
        images = labels.sum(dim=0)
        shared = images > 1
        # Summed over labels k, each pair's 1 / (number of other images with k): b x b, without one matrix per label.
        pull = (labels * (shared / (images - 1).clamp(min=1))) @ labels.T
        return -(pull.masked_fill(own, 0) * log_share).sum() / (images * shared).sum().clamp(min=1)


# The paper, which trains it alone, has no weight beside a cross-entropy: 0.1 leaves it smaller than that one at first.
add_method(
    Method(
        "mulsupcon",
        "Zhang and Wu, Multi-Label Supervised Contrastive Learning, AAAI 2024",
        "pulls images together, label by label, that share it",
        {"bce": 1, "mulsupcon": 0.1},
    )
)
