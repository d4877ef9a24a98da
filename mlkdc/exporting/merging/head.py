"""The decoder head with everything that its constant queries alone decide computed once."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from mlkdc.models import DecoderHead, HeadOutput


class FoldedHead(nn.Module):
    """What a :class:`~mlkdc.models.DecoderHead` computes in eval mode, with fewer multiply-adds.

    With Q the normalized queries, P the positions and a softmax over positions (L2D, section 3.2):

    - Q, its projection and their scale do not depend on the image. They are constants.
    - A key bias adds the same to all positions of a query, which a softmax does not see. It is left out.
    - A softmax sums to one, so that the value bias passes through it, into the output bias.
    - The scores (Q_h W_h) P^T need either P projected to keys, n d (d + q), or the queries multiplied with the key
      projection, n d (heads q). The cheaper one is taken.
    - The embedding of the positions is a 1x1 convolution of the map, where it needs no transposed copy of it.

    Args:
        head: in eval mode; left as it is.
    """

    query: Tensor | None
    constant: Tensor

    @torch.no_grad()
    def __init__(self, head: DecoderHead) -> None:
        super().__init__()
        # In float64, so that a product of weights is off by one rounding and not by a chain of them.
        head = copy.deepcopy(head).double()
        attention = head.attention
        dim, heads, labels = attention.to_key.in_features, attention.heads, len(head.query)
        query = head.norm1(head.query + head.query)
        projected = attention.to_query(query).unflatten(-1, (heads, -1)).transpose(0, 1)  # [heads, q, d/heads]
        projected = projected * projected.shape[-1] ** -0.5
        keys = attention.to_key.weight.unflatten(0, (heads, -1))  # [heads, d/heads, d]
        multiplied = heads * labels < dim + labels
        self.heads = heads
        embed: Any = head.embed[0]
        self.embed = _pointwise(embed)
        self.to_score = _linear((projected @ keys if multiplied else keys).flatten(0, 1))
        self.register_buffer("query", None if multiplied else projected)
        self.to_value = _linear(attention.to_value.weight)
        self.to_out = _linear(attention.to_out.weight, attention.to_out(attention.to_value.bias))
        self.register_buffer("constant", query)
        self.norm2, self.ffn, self.norm3 = head.norm2, head.ffn, head.norm3
        self.weight, self.bias = head.weight, head.bias
        self.float()

    def forward(self, features: Tensor) -> HeadOutput:
        """``[b, C, h, w]`` to logits ``[b, q]`` and embeddings ``[b, q, d]``."""
        positions = self.embed(features).relu().flatten(2).transpose(1, 2)  # [b, n, d]
        mixed = torch.matmul(self._scores(positions).softmax(dim=-1), self._split(self.to_value(positions)))
        x = self.norm2(self.constant + self.to_out(mixed.transpose(1, 2).flatten(2)))
        x = self.norm3(x + self.ffn(x))
        return HeadOutput((x * self.weight).sum(dim=-1) + self.bias, x)

    def _scores(self, positions: Tensor) -> Tensor:
        """``[b, heads, q, n]``."""
        scores = self._split(self.to_score(positions)).transpose(2, 3)
        return scores if self.query is None else torch.matmul(self.query, scores)

    def _split(self, x: Tensor) -> Tensor:
        """``[b, n, heads * m]`` to ``[b, heads, n, m]``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def _pointwise(linear: nn.Linear) -> nn.Conv2d:
    layer = nn.Conv2d(linear.in_features, linear.out_features, 1)
    layer.weight = nn.Parameter(linear.weight.detach().clone()[:, :, None, None])
    layer.bias = nn.Parameter(linear.bias.detach().clone())
    return layer
