"""The folded head against the head it came from, and its multiply-adds against a count by hand."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mlkdc.exporting.merging.head import FoldedHead
from mlkdc.exporting.merging.merge import merge
from mlkdc.models import DecoderHead, LinearHead

CHANNELS, SIDE = 24, 3


def lively(labels: int, dim: int, heads: int, shortcut: bool = False) -> DecoderHead:
    """Biases and gains away from 0 and 1, where leaving one out would not show."""
    torch.manual_seed(0)
    head = DecoderHead(CHANNELS, labels, dim, 2 * dim, heads, dropout=0.3, shortcut=shortcut).eval()
    for name, parameter in head.named_parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name and "weight" in name else 0.0, std=0.7)
    return head


def macs(head: torch.nn.Module) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        head(torch.zeros(1, CHANNELS, SIDE, SIDE))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize(("labels", "dim", "heads"), [(1, 8, 1), (5, 16, 2), (3, 32, 8), (30, 16, 8), (73, 64, 8)])
def test_answers_and_embeddings_are_those_of_the_head(labels, dim, heads, shortcut):
    head = lively(labels, dim, heads, shortcut)
    features = 3 * torch.randn(4, CHANNELS, SIDE, SIDE)
    with torch.no_grad():
        expected, actual = head(features), FoldedHead(head)(features)
    scale = expected.logits.abs().max().item()
    torch.testing.assert_close(actual.logits, expected.logits, rtol=0, atol=1e-5 * scale)
    torch.testing.assert_close(actual.embeddings, expected.embeddings, rtol=1e-4, atol=1e-4)


def test_queries_next_to_zero_are_normalized_as_the_head_does_it():
    """Doubled as there: the normalization's epsilon is no longer small beside them."""
    head = lively(5, 16, 2)
    head.query.data.mul_(0.01 / head.query.std())
    features = 3 * torch.randn(4, CHANNELS, SIDE, SIDE)
    with torch.no_grad():
        torch.testing.assert_close(
            FoldedHead(head)(features).embeddings, head(features).embeddings, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(("labels", "dim", "heads", "multiplied"), [(3, 32, 4, True), (30, 16, 8, False)])
def test_there_is_no_query_projection_and_the_cheaper_scores_are_taken(labels, dim, heads, multiplied):
    head, positions = lively(labels, dim, heads), SIDE**2
    folded = FoldedHead(head)
    assert (folded.query is None) == multiplied
    saved = labels * dim**2  # the query projection
    if multiplied:
        saved += positions * dim * (dim + labels) - positions * dim * heads * labels
    assert macs(head) - macs(folded) == saved


def test_the_head_it_came_from_is_left_alone():
    head = lively(5, 16, 2)
    before = {key: value.clone() for key, value in head.state_dict().items()}
    FoldedHead(head)
    assert all(
        torch.equal(value, before[key]) and value.dtype == torch.float32 for key, value in head.state_dict().items()
    )


def test_a_merge_says_whether_there_was_a_head_to_fold(student, wrap):
    model = student("shufflenetv2_x0_5")
    exported, report = merge(model, 64)
    assert isinstance(exported.head, FoldedHead)
    assert report.head
    assert report.after.macs_head < report.before.macs_head
    plain, report = merge(wrap(torch.nn.Conv2d(3, 8, 3), channels=8), 64)
    assert isinstance(plain.head, LinearHead)
    assert not report.head
