"""MulSupCon: supervised contrastive learning with several labels (Zhang and Wu, AAAI 2024)."""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from mlkdc.losses.batch import Batch
from mlkdc.losses.common import LikeBCE
from mlkdc.losses.options import TermOptions
from mlkdc.losses.pairs import distance_matrix
from mlkdc.losses.term import TERMS

DIMENSIONS = 128


@TERMS.register("mulsupcon")
class MulSupCon(LikeBCE):
    """Pulls an image together with the others that share a label, label by label.

    ``L = -c / N * sum_ik 1 / n_ik * sum_j log softmax_j(cos(z_i, z_j) / T), over j != i with label k``

    For every image and each of its labels, minus the log-softmax of its similarity to another image with that
    label among those to all other images, mean over such images; then the mean over all N (image, label) that have
    such an image, 0 if none has. z are projected pooled features; c as in :class:`LikeBCE`.

    The paper trains it alone, before the classifier, with two views, a momentum encoder and a queue of earlier
    images. Here it stands next to the cross-entropy and compares the images of one batch; its projection head has
    no batch normalization or dropout, which the release's has.

    Args:
        form: ``reference`` or ``paper``.
        temperature: T, the release's.
    """

    class Options(TermOptions):
        """See the class."""

        temperature: float = Field(0.1, gt=0, description="divides the cosines")

    options: Options
    needs = frozenset({"student.pooled"})
    relational = True

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
        similarity = -distance_matrix(projected).square() / (2 * self.options.temperature)
        diagonal = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
        # The lowest finite number, not -inf: the only image of a batch would get NaN.
        others = similarity.masked_fill(diagonal, torch.finfo(similarity.dtype).min)
        log_softmax = others.log_softmax(dim=1)
        labels = batch.targets.to(similarity.dtype)
        images = labels.sum(dim=0)
        shared = images > 1
        # Summed over labels k, each pair's 1 / (number of other images with k): b x b, without one matrix per label.
        pull = (labels * (shared / (images - 1).clamp(min=1))) @ labels.T
        return -(pull.masked_fill(diagonal, 0) * log_softmax).sum() / (images * shared).sum().clamp(min=1)
