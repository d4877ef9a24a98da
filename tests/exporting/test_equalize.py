"""Equalized models are the same function with evener channels."""

import pytest
import torch
from torch import nn

from mlkdc.exporting.int8.equalize import equalize
from mlkdc.exporting.merging.merge import merge

SIZE = 64


def uneven(conv: nn.Conv2d) -> nn.Conv2d:
    with torch.no_grad():
        conv.weight.mul_(torch.logspace(-2, 2, conv.out_channels).view(-1, 1, 1, 1))
    return conv


def test_pairs_through_a_relu_are_found_and_answers_stay(wrap, framed_noise):
    layers = [
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),  # depthwise
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 6, 1, bias=False),
        nn.ReLU6(),  # passes no factor on
        nn.Conv2d(6, 4, 1),
    ]
    model, _ = merge(wrap(*layers, channels=4), SIZE)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    uneven(convs[0])
    uneven(convs[1])
    with torch.no_grad():
        expected = model.logits(framed_noise)
        assert equalize(model, framed_noise[:1]) == 2
        torch.testing.assert_close(
            model.logits(framed_noise), expected, rtol=0, atol=1e-4 * expected.abs().max().item()
        )
    # The fixed point: a channel's largest weight is the same on both sides.
    first, second = (convs[i].weight.abs().amax((1, 2, 3)) for i in (0, 1))
    torch.testing.assert_close(first, second, rtol=0.01, atol=0)
    torch.testing.assert_close(second, convs[2].weight.abs().amax((0, 2, 3)), rtol=0.01, atol=0)


def test_a_channel_that_is_switched_off_does_not_set_the_range_of_all(wrap, framed_noise):
    model, _ = merge(wrap(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), channels=4), SIZE)
    first, second = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight[2] *= 1e-9
        first.bias[2] = 0.5
        expected = model.logits(framed_noise)
        assert equalize(model, framed_noise[:1]) == 1
        torch.testing.assert_close(
            model.logits(framed_noise), expected, rtol=0, atol=1e-4 * expected.abs().max().item()
        )
    assert first.bias.abs().max() < 10
    ranges = first.weight.abs().amax((1, 2, 3)), second.weight.abs().amax((0, 2, 3))
    others = [channel for channel in range(8) if channel != 2]
    torch.testing.assert_close(ranges[0][others], ranges[1][others], rtol=0.01, atol=0)


def test_an_output_that_is_read_twice_is_left_alone(wrap, framed_noise):
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x):
            x = self.first(x)
            return x + self.second(x)

    model, _ = merge(wrap(Residual(), channels=3), SIZE)
    assert equalize(model, framed_noise[:1]) == 0


def test_all_of_a_merged_repvgg_is_a_chain(student, framed_noise):
    model, _ = merge(student("repvgg_a0"), SIZE)
    with torch.no_grad():
        expected = model.logits(framed_noise)
        # Between its 22 convolutions; the head takes the output of the last one twice.
        assert equalize(model, framed_noise[:1]) == 21
        torch.testing.assert_close(
            model.logits(framed_noise), expected, rtol=0, atol=1e-4 * expected.abs().max().item()
        )


def chain(groups: int = 1) -> tuple[nn.Sequential, torch.Tensor]:
    """Two convolutions with a ReLU between them, and an image."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=groups))
    return model.eval(), torch.rand(1, 3, 16, 16)


@torch.no_grad()
@pytest.mark.parametrize(("groups", "pairs"), [(1, 1), (2, 0), (8, 1)])
def test_groups_of_several_channels_are_left_alone(groups, pairs):
    model, image = chain(groups)
    uneven(model[0])
    expected = model(image)
    assert equalize(model, image) == pairs
    torch.testing.assert_close(model(image), expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@torch.no_grad()
@pytest.mark.parametrize("side", ["output", "input"])
def test_a_channel_that_is_zero_on_one_side_stays(side):
    model, image = chain()
    zeroed = model[0].weight[2] if side == "output" else model[2].weight[:, 2]
    zeroed.zero_()
    expected = model(image)
    assert equalize(model, image) == 1
    torch.testing.assert_close(model(image), expected, rtol=0, atol=1e-5 * expected.abs().max().item())
