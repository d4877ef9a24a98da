"""The decoder head with everything that its constant queries alone decide computed once."""

import copy

import torch
from torch import Tensor, nn

from mlkdc.models import DecoderHead, HeadOutput


class FoldedHead(nn.Module):
    """What a :class:`~mlkdc.models.DecoderHead` computes in eval mode, with fewer multiply-adds.

    With Q the normalized queries, P the positions and a softmax over positions (L2D, section 3.2):

    - Q, its projection and their scale do not depend on the image. They are constants.
    - A key bias adds the same to all positions of a query, which a softmax does not see. It is dropped.
    - A softmax sums to one, so that the value bias passes through it, into the output bias.
    - The scores (Q_h W_h) P^T need either P projected to keys, n d (d + q), or the queries multiplied with the key
      projection, n d (heads q). The cheaper one is taken.
    - The bias of the logits is the shortcut's, where there is one.
    - The embedding of the positions is a 1x1 convolution of the map, where it needs no transposed copy of it.

    Args:
        head: in eval mode; left as it is.
    """

    query: Tensor | None
    constant: Tensor
    shortcut: nn.Linear | None

    @torch.no_grad()
    def __init__(self, head: DecoderHead) -> None:
        super().__init__()
        # In float64, so that a product of weights is off by one rounding and not by a chain of them.
        head = copy.deepcopy(head).double()
        attention = head.attention
        self.heads = attention.heads
        # In eval mode dropout is the identity, so that a query is added to itself and normalized: the same for all
        # images, and with it its projection. The scale 1 / sqrt(d / heads) is a factor of the scores like any other.
        query = head.norm1(head.query + head.query)
        projected = attention.to_query(query).unflatten(-1, (self.heads, -1)).transpose(0, 1)  # [heads, q, d/heads]
        projected = projected * projected.shape[-1] ** -0.5
        # A key bias b would add projected . b to the scores of a query, the same at every position: the softmax over
        # positions cancels it. So the weight is all there is to the keys.
        keys = torch.unflatten(attention.to_key.weight, 0, (self.heads, -1))  # [heads, d/heads, d]
        labels, dim = query.shape
        if self.heads * labels < dim + labels:
            # (Q W) P^T = Q (W P^T): a product of matrices can be taken in either order.
            scoring = projected @ keys
            self.register_buffer("query", None)
        else:
            scoring = keys
            self.register_buffer("query", projected)
        self.embed = _pointwise(head.embed.get_submodule("0"))
        self.to_score = _linear(scoring.flatten(0, 1))
        # The softmax weights a_n of a query sum to one: sum a_n (W p_n + b) = W sum a_n p_n + b. What the output
        # projection makes of b is added to its bias: to_out(b) = W_out b + b_out.
        self.to_value = _linear(attention.to_value.weight)
        self.to_out = _linear(attention.to_out.weight, attention.to_out(attention.to_value.bias))
        self.register_buffer("constant", query)
        # What follows depends on the image through x, and stays as it is.
        self.norm2, self.ffn, self.norm3 = head.norm2, head.ffn, head.norm3
        # The bias is spread over the products that are summed. Behind the sum, OpenVINO's CPU plugin would fuse both
        # and add to the logits of image i of a batch the bias of class i.
        self.weight, self.bias = head.weight, nn.Parameter(head.bias[:, None] / dim)
        self.shortcut = None
        if head.shortcut is not None:
            self.shortcut = _linear(head.shortcut.weight, head.bias)
        self.float()

    def forward(self, features: Tensor, labelwise: bool = True) -> HeadOutput:
        """``[b, C, h, w]`` to logits ``[b, q]`` and embeddings ``[b, q, d]``."""
        positions = self.embed(features).relu().flatten(2).transpose(1, 2)  # [b, n, d]
        mixed = torch.matmul(self._scores(positions).softmax(dim=-1), self._split(self.to_value(positions)))
        x = self.norm2(self.constant + self.to_out(mixed.transpose(1, 2).flatten(2)))
        x = self.norm3(x + self.ffn(x))
        products = x * self.weight
        if self.shortcut is not None:
            return HeadOutput(products.sum(dim=-1) + self.shortcut(features.mean(dim=(2, 3))), x)
        return HeadOutput((products + self.bias).sum(dim=-1), x)

    def _scores(self, positions: Tensor) -> Tensor:
        """``[b, heads, q, n]``."""
        scores = self._split(self.to_score(positions)).transpose(2, 3)
        if self.query is None:
            return scores
        return torch.matmul(self.query, scores)

    def _split(self, x: Tensor) -> Tensor:
        """``[b, n, heads * m]`` to ``[b, heads, n, m]``."""
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def _pointwise(linear: nn.Module) -> nn.Conv2d:
    """A linear layer over positions as a convolution: with a kernel of one pixel both take the same weighted sums."""
    assert isinstance(linear, nn.Linear)
    layer = nn.Conv2d(linear.in_features, linear.out_features, 1)
    layer.weight = nn.Parameter(linear.weight.detach().clone()[:, :, None, None])
    layer.bias = nn.Parameter(linear.bias.detach().clone())
    return layer
