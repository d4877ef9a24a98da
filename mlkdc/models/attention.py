"""Class-specific residual attention: where a class is seen counts more, by one 1x1 convolution."""

import torch
from torch import Tensor, nn

from mlkdc.models.heads import FIRST_STD, HeadOutput


class AttentionHead(nn.Module):
    """The head of Zhu and Wu, "Residual Attention: A Simple but Effective Method for Multi-Label Recognition" (2021).

    With x_n the features at position n of N, a score for each class k and position, ``s_kn = w_k . x_n``, gives the
    attention ``a_kn = softmax_n(s_kn)`` (their temperature T is 1, of one head) and, by their equations 4 and 5,
    the label-wise embedding ``e_k = mean_n x_n + residual * sum_n a_kn x_n`` of size C. The logit is
    ``w_k . e_k + bias_k = mean_n s_kn + residual * sum_n a_kn s_kn + bias_k``, for which no embedding is computed.

    Args:
        channels: C of the feature map.
        num_classes: q.
        residual: weight of the attended features next to the mean, the paper's lambda; 0 makes it a linear head.
        dropout: on the features.
    """

    def __init__(self, channels: int, num_classes: int, residual: float, dropout: float) -> None:
        super().__init__()
        self.residual = residual
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Conv2d(channels, num_classes, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(num_classes))
        # Near zero: what random scores would add to the first logits, a pretrained backbone would be bent to undo.
        nn.init.normal_(self.score.weight, std=FIRST_STD)

    def forward(self, features: Tensor, labelwise: bool = False) -> HeadOutput:
        """``[b, C, h, w]`` to logits ``[b, q]`` and, only if ``labelwise``, embeddings ``[b, q, C]``; any h and w."""
        features = self.dropout(features)
        scores = self.score(features).flatten(2)  # [b, q, n]
        attention = scores.softmax(dim=-1)
        logits = scores.mean(dim=-1) + self.residual * (attention * scores).sum(dim=-1) + self.bias
        if not labelwise:
            return HeadOutput(logits, None)
        # The mean is the sum with the same weight, 1 / n, everywhere.
        weights = self.residual * attention + 1 / scores.shape[-1]
        return HeadOutput(logits, torch.matmul(weights, features.flatten(2).transpose(1, 2)))
