"""Heads: from a feature map ``[b, C, h, w]`` of any size to one logit per class."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

#: Of the first weights where features become logits directly.
FIRST_STD = 0.001


class HeadOutput(NamedTuple):
    """``logits [b, q]`` and label-wise ``embeddings [b, q, d]``.

    A decoder's embeddings come with its logits. Those of other heads that have some are computed only where a call asks
    for them, ``head(features, labelwise=True)``, and are None elsewhere.
    """

    logits: Tensor
    embeddings: Tensor | None


class CrossAttention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2) of queries shared by all images over positions.

    The queries are projected once per batch, not once per image as ``nn.MultiheadAttention`` would.

    Args:
        dim: embedding size d, divisible by ``heads``.
        heads: attention heads.
        dropout: on the attention weights.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_query = nn.Linear(dim, dim)
        self.to_key = nn.Linear(dim, dim)
        self.to_value = nn.Linear(dim, dim)
        self.to_out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.to_query, self.to_key, self.to_value, self.to_out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, query: Tensor, positions: Tensor) -> Tensor:
        """``query [q, d]`` and ``positions [b, n, d]`` to ``[b, q, d]``."""
        q = self.to_query(query).unflatten(-1, (self.heads, -1)).transpose(0, 1)  # [heads, q, d/heads]
        k = self.to_key(positions).unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1)  # [b, heads, d/heads, n]
        v = self.to_value(positions).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [b, heads, n, d/heads]
        # The scale goes into the query, which has no batch dimension, and not into the larger scores.
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k)
        mixed = torch.matmul(self.dropout(scores.softmax(dim=-1)), v)
        output: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return output


class DecoderHead(nn.Module):
    """The label-wise decoder of L2D (Yang et al. 2023, section 3.2), after ML-Decoder (Ridnik et al. 2023).

    One cross-attention decoder layer over the map's positions with one fixed random query per class, and no
    self-attention. Its output for class k is the label-wise embedding e_k, and ``logit_k = w_k . e_k + bias_k``.
    The queries are a buffer, equal on every machine; ``norm1`` and the query projection are what is trained.
    One departure from the L2D release: its dropout on the query differs per image, here per batch. (Its code for one
    query per group of classes is used by none of its models.)

    With a shortcut, ``logit_k = w_k . e_k + v_k . mean_n x_n + bias_k``, x_n the map's positions: from the first step
    on, the backbone gets the gradient that a linear head gives it, which a decoder with random weights does not pass
    on. The embeddings do not change.

    Args:
        channels: C of the feature map.
        num_classes: q.
        dim: embedding size d, divisible by ``heads``.
        ffn: hidden size of the feed-forward block.
        heads: attention heads.
        dropout: applied where a Transformer decoder layer applies it, and to what the shortcut takes.
        shortcut: whether there is one.
    """

    query: Tensor
    shortcut: nn.Linear | None

    def __init__(
        self, channels: int, num_classes: int, dim: int, ffn: int, heads: int, dropout: float, shortcut: bool = False
    ) -> None:
        super().__init__()
        # A separate generator: the queries do not depend on the run's seed, and drawing them does not advance it.
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("query", torch.randn(num_classes, dim, generator=generator))
        self.embed = nn.Sequential(nn.Linear(channels, dim), nn.ReLU())
        self.norm1 = nn.LayerNorm(dim)
        self.attention = CrossAttention(dim, heads, dropout)
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn), nn.ReLU(), nn.Dropout(dropout), nn.Linear(ffn, dim))
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.weight = nn.Parameter(torch.empty(num_classes, dim))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        nn.init.xavier_normal_(self.weight)
        self.shortcut = None
        if shortcut:
            self.shortcut = nn.Linear(channels, num_classes, bias=False)

    def forward(self, features: Tensor, labelwise: bool = True) -> HeadOutput:
        """``[b, C, h, w]`` to logits ``[b, q]`` and embeddings ``[b, q, d]``; any h and w."""
        # For a channels_last map these two are views.
        positions = self.embed(features.flatten(2).transpose(1, 2))
        # ML-Decoder drops self-attention and keeps the residual connection around it, so the query adds to itself.
        query = self.norm1(self.query + self.dropout(self.query))
        x = self.norm2(query + self.dropout(self.attention(query, positions)))
        x = self.norm3(x + self.dropout(self.ffn(x)))
        logits = (x * self.weight).sum(dim=-1) + self.bias
        if self.shortcut is not None:
            logits = logits + self.shortcut(self.dropout(features.mean(dim=(2, 3))))
        return HeadOutput(logits, x)


class LinearHead(nn.Module):
    """Global average pooling and one linear layer; it has no label-wise embeddings.

    Args:
        channels: C of the feature map.
        num_classes: q.
        dropout: on the pooled features.
    """

    def __init__(self, channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        nn.init.normal_(self.fc.weight, std=FIRST_STD)
        nn.init.zeros_(self.fc.bias)

    def forward(self, features: Tensor, labelwise: bool = False) -> HeadOutput:
        """``[b, C, h, w]`` to logits ``[b, q]``; any h and w."""
        return HeadOutput(self.fc(self.dropout(features.mean(dim=(2, 3)))), None)

    @property
    def bias(self) -> nn.Parameter:
        """``[q]``, as other heads have it."""
        return self.fc.bias
