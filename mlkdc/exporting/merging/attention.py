"""The attention head with its bias where no runtime can add it to the wrong thing."""

import torch
from torch import Tensor, nn

from mlkdc.models import AttentionHead, HeadOutput


class FoldedAttention(nn.Module):
    """What a :class:`~mlkdc.models.AttentionHead` computes in eval mode, with the bias in its convolution.

    A constant c_k on all scores s_kn of a class leaves the softmax over n as it is, and adds
    ``c_k + residual * c_k`` to the logit ``mean_n s_kn + residual * sum_n a_kn s_kn``. So ``c_k = bias_k / (1 +
    residual)`` in the convolution is the bias. Behind a sum over positions, OpenVINO's CPU plugin would add the bias of
    the image's row, and not of the class, to each logit of a batch.

    Mean and attention are one sum over positions. In an int8 model OpenVINO would move the scale of the scores behind a
    mean, and take it there, too, by the image's row from a table of one entry per class.

    Args:
        head: in eval mode; left as it is.
    """

    @torch.no_grad()
    def __init__(self, head: AttentionHead) -> None:
        super().__init__()
        self.residual = head.residual
        weight = head.score.weight
        self.score = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
        self.score.weight = nn.Parameter(weight.clone())
        self.score.bias = nn.Parameter(head.bias / (1 + head.residual))

    def forward(self, features: Tensor, labelwise: bool = False) -> HeadOutput:
        """``[b, C, h, w]`` to logits ``[b, q]`` and, only if ``labelwise``, embeddings ``[b, q, C]``."""
        scores = self.score(features).flatten(2)
        shares = self.residual * scores.softmax(dim=-1) + 1 / scores.shape[-1]
        logits = (shares * scores).sum(dim=-1)
        if not labelwise:
            return HeadOutput(logits, None)
        return HeadOutput(logits, torch.matmul(shares, features.flatten(2).transpose(1, 2)))
