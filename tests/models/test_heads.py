"""Heads against a slow re-implementation of METHODS in float64, class by class and head by head."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mlkdc.errors import UsageError
from mlkdc.models import AttentionHead, DecoderHead, LinearHead, make_head
from mlkdc.recipe import Head


def _slow_decoder(head: DecoderHead, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plain loops over images, classes, attention heads and positions."""
    p = {name: tensor.detach().double().numpy() for name, tensor in head.state_dict().items()}

    def linear(name, x):
        return p[f"{name}.weight"] @ x + p[f"{name}.bias"]

    def norm(name, x):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    q, d = p["query"].shape
    size = d // head.attention.heads
    logits, embeddings = np.zeros((len(features), q)), np.zeros((len(features), q, d))
    for image, fmap in enumerate(features):
        positions = [
            np.maximum(linear("embed.0", fmap[:, row, column]), 0)
            for row in range(fmap.shape[1])
            for column in range(fmap.shape[2])
        ]
        keys = [linear("attention.to_key", x) for x in positions]
        values = [linear("attention.to_value", x) for x in positions]
        for label in range(q):
            start = norm("norm1", 2 * p["query"][label])
            query = linear("attention.to_query", start)
            mixed = np.zeros(d)
            for part in (slice(n * size, (n + 1) * size) for n in range(head.attention.heads)):
                scores = np.array([query[part] @ key[part] for key in keys]) / math.sqrt(size)
                attention = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
                mixed[part] = sum(weight * value[part] for weight, value in zip(attention, values, strict=True))
            x = norm("norm2", start + linear("attention.to_out", mixed))
            x = norm("norm3", x + linear("ffn.3", np.maximum(linear("ffn.0", x), 0)))
            embeddings[image, label] = x
            logits[image, label] = p["weight"][label] @ x + p["bias"][label]
    return logits, embeddings


def _randomized(head: nn.Module) -> nn.Module:
    """Other values than the initial ones, so that no norm or bias is idle."""
    generator = torch.Generator().manual_seed(1)
    for parameter in head.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return head.eval()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 2)])
def test_decoder_equals_slow_loops(height, width):
    head = _randomized(DecoderHead(5, 4, dim=12, ffn=7, heads=3, dropout=0.1))
    features = torch.randn(2, 5, height, width, generator=torch.Generator().manual_seed(2))
    logits, embeddings = _slow_decoder(head, features.double().numpy())
    with torch.no_grad():
        output = head.double()(features.double())
        np.testing.assert_allclose(output.logits.numpy(), logits, atol=1e-10)
        np.testing.assert_allclose(output.embeddings.numpy(), embeddings, atol=1e-10)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 2)])
def test_compact_adds_a_linear_head_to_the_decoder(height, width):
    torch.manual_seed(0)
    head = _randomized(make_head(Head(kind="compact", dim=12, ffn=8, heads=3), 5, 4)).double()
    features = torch.randn(2, 5, height, width).double()
    with torch.no_grad():
        output = head(features)
    logits, embeddings = _slow_decoder(head, features.numpy())
    shortcut = head.shortcut.weight.detach().numpy()
    pooled = np.array([[channel.sum() / (height * width) for channel in image] for image in features.numpy()])
    np.testing.assert_allclose(output.logits.numpy(), logits + pooled @ shortcut.T, atol=1e-10)
    np.testing.assert_allclose(output.embeddings.numpy(), embeddings, atol=1e-10)


def test_a_decoder_has_no_shortcut_and_draws_the_same_weights():
    states = {}
    for kind in ("compact", "decoder"):
        torch.manual_seed(0)
        states[kind] = make_head(Head(kind=kind, dim=16, ffn=16, heads=2), 8, 3).state_dict()
    assert set(states["compact"]) - set(states["decoder"]) == {"shortcut.weight"}
    for name, value in states["decoder"].items():
        assert torch.equal(states["compact"][name], value)


def _slow_attention(head: AttentionHead, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zhu and Wu, equations 2 to 5, in plain loops: weighted features first, then their product with the weight."""
    weight, bias = (tensor.detach().double().numpy() for tensor in (head.score.weight, head.bias))
    logits = np.zeros((len(features), len(bias)))
    embeddings = np.zeros((*logits.shape, features.shape[1]))
    for image, fmap in enumerate(features):
        positions = [fmap[:, row, column] for row in range(fmap.shape[1]) for column in range(fmap.shape[2])]
        for label in range(len(bias)):
            w = weight[label, :, 0, 0]
            exponentials = [math.exp(x @ w) for x in positions]
            attended = sum(e / sum(exponentials) * x for e, x in zip(exponentials, positions, strict=True))
            e = sum(positions) / len(positions) + head.residual * attended
            embeddings[image, label] = e
            logits[image, label] = w @ e + bias[label]
    return logits, embeddings


@pytest.mark.parametrize(("height", "width", "residual"), [(1, 1, 0.3), (3, 2, 0.3), (2, 2, 1.5), (2, 2, 0.0)])
def test_residual_attention_equals_slow_loops(height, width, residual):
    head = _randomized(make_head(Head(kind="attention", residual=residual), 5, 4)).double()
    features = torch.randn(2, 5, height, width, generator=torch.Generator().manual_seed(2)).double()
    logits, embeddings = _slow_attention(head, features.numpy())
    with torch.no_grad():
        output = head(features, labelwise=True)
        np.testing.assert_allclose(output.logits.numpy(), logits, atol=1e-10)
        np.testing.assert_allclose(output.embeddings.numpy(), embeddings, atol=1e-10)
        assert torch.equal(head(features).logits, output.logits)


def test_the_logit_is_the_embeddings_product_with_the_weight_under_dropout_too():
    torch.manual_seed(0)
    head = make_head(Head(kind="attention", dropout=0.5), 6, 3).train()
    features = torch.randn(2, 6, 2, 3)
    logits, embeddings = head(features, labelwise=True)
    torch.testing.assert_close(logits, (embeddings * head.score.weight.flatten(1)).sum(-1) + head.bias)
    assert not torch.equal(head(features).logits, head(features).logits)


def test_embeddings_of_residual_attention_cost_nothing_where_nobody_asks():
    head = make_head(Head(kind="attention"), 6, 3).eval()
    with FlopCounterMode(display=False) as counter:
        assert head(torch.zeros(2, 6, 2, 2)).embeddings is None
    assert counter.get_total_flops() == 2 * 2 * 4 * 6 * 3  # the convolution alone


def test_attention_equals_torchs():
    attention = _randomized(DecoderHead(5, 4, dim=12, ffn=7, heads=3, dropout=0.0).attention)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    layers = (attention.to_query, attention.to_key, attention.to_value)
    theirs.in_proj_weight.data = torch.cat([layer.weight.data for layer in layers])
    theirs.in_proj_bias.data = torch.cat([layer.bias.data for layer in layers])
    theirs.out_proj = attention.to_out
    query, positions = torch.randn(4, 12), torch.randn(2, 6, 12)
    expected, _ = theirs(query.expand(2, 4, 12), positions, positions)
    torch.testing.assert_close(attention(query, positions), expected)


@pytest.mark.parametrize("kind", ["attention", "compact", "decoder", "linear"])
def test_any_map_size_and_memory_layout(kind):
    torch.manual_seed(0)
    head = make_head(Head(kind=kind), channels=16, num_classes=5).eval()
    for height, width in [(1, 1), (2, 7)]:
        features = torch.randn(2, 16, height, width)
        logits, embeddings = head(features, labelwise=True)
        assert logits.shape == (2, 5)
        assert (embeddings is None) == (kind == "linear")
        packed = head(features.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(packed.logits, logits)


def test_sizes_come_from_the_recipe():
    for spec, dim, ffn in [
        (Head(kind="compact"), 256, 512),
        (Head(kind="decoder"), 768, 2048),
        (Head(kind="compact", dim=64, ffn=96), 64, 96),
    ]:
        head = make_head(spec, 8, 3)
        assert head(torch.randn(1, 8, 2, 2)).embeddings.shape == (1, 3, dim)
        assert head.ffn[0].out_features == ffn


def test_queries_are_fixed_stored_and_the_same_for_every_seed():
    torch.manual_seed(1)
    first = DecoderHead(8, 3, 16, 16, 4, 0.1)
    torch.manual_seed(2)
    second = DecoderHead(8, 3, 16, 16, 4, 0.1)
    assert torch.equal(first.query, second.query)
    assert not torch.equal(first.weight, second.weight)
    assert "query" in first.state_dict()
    assert all(parameter is not first.query for parameter in first.parameters())
    expected = torch.tensor([1.5409960746765137, -0.2934289276599884, -2.1787893772125244])  # of any torch since 1.0
    torch.testing.assert_close(DecoderHead(8, 1, 8, 8, 2, 0.1).query[0, :3], expected)


def test_dropout_acts_only_in_training():
    torch.manual_seed(0)
    head = DecoderHead(8, 3, 16, 16, 4, dropout=0.5)
    x = torch.randn(1, 8, 2, 2)
    assert not torch.equal(head(x).logits, head(x).logits)
    head.eval()
    assert torch.equal(head(x).logits, head(x).logits)


def test_linear_head_pools():
    torch.manual_seed(0)
    head = LinearHead(8, 3, dropout=0.0)
    x = torch.randn(2, 8, 3, 2)
    expected = torch.stack([head.fc.weight @ image.flatten(1).mean(1) + head.fc.bias for image in x])
    torch.testing.assert_close(head(x).logits, expected)


def test_size_that_the_heads_do_not_divide():
    with pytest.raises(UsageError, match="dim 100 is not a multiple of heads 8"):
        make_head(Head(kind="compact", dim=100), 8, 3)


class Dropped:
    """What the dropouts of a head were applied to, by its shape."""

    def __init__(self, head: nn.Module) -> None:
        self.shapes: list[tuple[int, ...]] = []
        for module in head.modules():
            if isinstance(module, nn.Dropout):
                module.register_forward_hook(lambda _, given, __: self.shapes.append(tuple(given[0].shape)))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Where torch's decoder layer has it: query, attention weights, attended, hidden, and what that becomes.
        ("decoder", [(4, 12), (2, 3, 4, 6), (2, 4, 12), (2, 4, 8), (2, 4, 12)]),
        ("compact", [(4, 12), (2, 3, 4, 6), (2, 4, 12), (2, 4, 8), (2, 4, 12), (2, 5)]),
        ("attention", [(2, 5, 2, 3)]),
        ("linear", [(2, 5)]),
    ],
)
def test_dropout_is_where_the_head_says(kind, expected):
    head = make_head(Head(kind=kind, dim=12, ffn=8, heads=3, dropout=0.4), 5, 4)
    dropped, features = Dropped(head), torch.randn(2, 5, 2, 3)
    first = head.train()(features).logits
    assert dropped.shapes == expected
    assert {module.p for module in head.modules() if isinstance(module, nn.Dropout)} == {0.4}
    assert not torch.equal(head(features).logits, first)
    assert torch.equal(head.eval()(features).logits, head(features).logits)


def test_dropped_attention_weights_are_what_positions_are_mixed_with():
    """All of them dropped leave the output bias; half of them leave each position out or double its weight."""
    torch.manual_seed(0)
    attention = _randomized(DecoderHead(5, 4, dim=12, ffn=7, heads=3, dropout=0.5)).attention.train().double()
    query, position = torch.randn(4, 12).double(), torch.randn(2, 1, 12).double()
    with torch.no_grad():
        attended = attention(query, position) - attention.to_out.bias
        mixed = torch.linalg.solve(attention.to_out.weight, attended[..., None])
        value = attention.to_value(position)
        attention.dropout.p = 1.0
        torch.testing.assert_close(attention(query, position), attention.to_out.bias.expand(2, 4, 12))
    # One position has weight 1 in each of the heads, for each query by itself.
    ratios = mixed.reshape(2, 4, 3, 4) / value.reshape(2, 1, 3, 4)
    torch.testing.assert_close(ratios, ratios.round(), rtol=0, atol=1e-6)
    assert set(ratios.round().abs().flatten().tolist()) == {0.0, 2.0}
