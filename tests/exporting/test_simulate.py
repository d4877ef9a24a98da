"""The simulated change of the logits: against the layers written out in float64, and that nothing of it stays."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from int8_by_hand import inputs, weights
from torch import nn

from mlkdc.exporting.int8.bias import correct_biases
from mlkdc.exporting.int8.layers import round_input
from mlkdc.exporting.int8.quantizer import simulated_images
from mlkdc.exporting.int8.simulate import Simulation
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.merge import merge

SIZE = 64


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3, stride=4), nn.Conv2d(6, 4, 1)

    def forward(self, x):
        return self.last(self.first(x).relu())


@pytest.fixture
def model(wrap):
    return merge(wrap(Two(), channels=4), SIZE)[0]


@pytest.fixture
def images(framed_noise):
    return framed_noise.to(torch.uint8).numpy()


def both_logits(model, images, how):
    """Exact and rounded."""
    chain, fc = model.backbone[0], model.head.fc
    exact = (torch.from_numpy(images).double() - model.mean.double()) * (1 if model.scale is None else model.scale)
    rough = exact

    def layer(run, module, name):
        w, b = module.weight.double(), module.bias.double()
        if how.keeps(name):
            return run(exact, w, b), run(rough, w, b)
        return run(exact, w, b), run(inputs(rough, exact, how.clip), weights(w, how.weight_steps), b)

    exact, rough = layer(lambda x, w, b: F.conv2d(x, w, b, stride=4).relu(), chain.first, "backbone.0.first")
    exact, rough = layer(lambda x, w, b: F.conv2d(x, w, b).mean((2, 3)), chain.last, "backbone.0.last")
    return layer(F.linear, fc, "head.fc")


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"clip": True},
        {"weight_steps": 63.5, "depthwise_steps": 63.5},
        {"keep": ("backbone.0.first",)},
        {"correct_biases": True},
        {"correct_biases": True, "clip": True, "keep": ("head",)},
    ],
)
@torch.no_grad()
def test_is_that_of_the_rounded_layers(how, model, images):
    how = Quantization(images, **how)
    simulation, plain = Simulation(model, images[2:], images[:2]), copy.deepcopy(model)
    for _ in range(2):  # what was measured before serves all settings
        corrected = copy.deepcopy(plain)
        if how.correct_biases:
            correct_biases(corrected, images[:2], how)
        exact, _ = both_logits(plain, images[2:], how)
        _, rough = both_logits(corrected, images[2:], how)
        expected = (rough - exact).abs().mean().item()
        assert expected > 1e-4
        assert simulation.change(how) == pytest.approx(expected, rel=0.02)
        assert all(torch.equal(value, plain.state_dict()[name]) for name, value in model.state_dict().items())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        how = Quantization(images, weight_steps=15, keep=("backbone.0.last",))


@pytest.mark.parametrize(("low", "high"), [(-1.7, 2.9), (0.0, 6.0), (0.0, 1.0), (-0.003, 0.0), (0.0, 0.0)])
def test_inputs_are_rounded_alike_with_and_without_a_gradient(low, high):
    """Bit by bit, with values outside the range and right between two steps; the gradient's is torch's own."""
    step = (high - low) / 255
    random = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    values = torch.cat([3 * random, torch.arange(-300, 300) * step / 2])
    hook = round_input(low, high)
    with torch.enable_grad():
        expected = hook(nn.Identity(), (values,))
    with torch.no_grad():
        actual = hook(nn.Identity(), (values.clone(),))
        assert torch.equal(hook(nn.Identity(), (values,)), expected)  # which it leaves as they were
    assert torch.equal(actual, expected)
    assert len(np.unique(expected.numpy())) <= 256


@pytest.mark.parametrize(("size", "count"), [(48, 64), (96, 64), (128, 36), (192, 16), (224, 16), (448, 16)])
def test_larger_images_need_not_be_as_many(size, count):
    assert simulated_images(64, size) == count
    assert simulated_images(16, size) == count // 4
