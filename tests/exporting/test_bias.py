"""Corrected biases: against a computation of each layer in float64 that shares no code with the correction."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from int8_by_hand import inputs, weights
from torch import nn

from mlkdc.exporting.int8.bias import correct_biases, measure
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.merge import merge

SIZE = 64


class Chain(nn.Module):
    """Held in another order than it runs; one layer has no bias, one never runs."""

    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(8, 4, 1, bias=False)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.unused = nn.Conv2d(3, 3, 1)
        self.first = nn.Conv2d(3, 8, 3, stride=4)

    def forward(self, x):
        return self.last(self.deep(self.first(x).relu()).relu())


@pytest.fixture
def model(wrap):
    return merge(wrap(Chain(), channels=4), SIZE)[0]


@pytest.fixture
def images(framed_noise):
    return framed_noise.to(torch.uint8).numpy()


def expected(model, images, most=127, clip=False, kept=()):
    """The biases, layer by layer: what each gives is corrected before the next one takes it."""
    chain, fc = model.backbone[0], model.head.fc
    exact = (torch.from_numpy(images).double() - model.mean.double()) * (1 if model.scale is None else model.scale)
    corrected, rough = {}, exact
    plain = [(chain.first, {"stride": 4}), (chain.deep, {"padding": 1, "groups": 8}), (chain.last, {})]
    for name, (layer, how) in zip(("first", "deep", "last"), plain, strict=True):
        w, b = layer.weight.double(), torch.zeros(1) if layer.bias is None else layer.bias.double()
        right = F.conv2d(exact, w, **how) + b.view(1, -1, 1, 1)
        if name in kept:
            output = F.conv2d(rough, w, **how) + b.view(1, -1, 1, 1)
        else:
            # The ranges are those of the exact input.
            output = F.conv2d(inputs(rough, exact, clip), weights(w, most), **how) + b.view(1, -1, 1, 1)
        if layer.bias is not None and name not in kept:
            error = output.mean((0, 2, 3)) - right.mean((0, 2, 3))
            corrected[name] = b - error
            output = output - error.view(1, -1, 1, 1)
        exact, rough = (right, output) if name == "last" else (right.relu(), output.relu())
    exact, rough = exact.mean((2, 3)), rough.mean((2, 3))
    output = F.linear(inputs(rough, exact, clip), weights(fc.weight.double(), most))
    corrected["fc"] = fc.bias.double() - (output - F.linear(exact, fc.weight.double())).mean(0)
    return corrected


def biases(model):
    chain = model.backbone[0]
    return {"first": chain.first.bias, "deep": chain.deep.bias, "fc": model.head.fc.bias}


@pytest.mark.parametrize("how", [{}, {"clip": True}, {"weight_steps": 63.5, "depthwise_steps": 63.5}])
@torch.no_grad()
def test_each_bias_makes_up_for_the_mean_error_of_its_layer(how, model, images):
    plain = copy.deepcopy(model)
    assert correct_biases(model, images, Quantization(images, **how)) == 3
    right = expected(plain, images, how.get("weight_steps", 127), how.get("clip", False))
    before = biases(plain)
    for name, actual in biases(model).items():
        change = (right[name] - before[name]).abs().max().item()
        assert change > 1e-4  # there is something to correct
        np.testing.assert_allclose(actual.double().numpy(), right[name].numpy(), rtol=0, atol=0.1 * change)


class Last(nn.Module):
    """A linear layer over a map whose channels stand last, as ConvNeXt has them."""

    def __init__(self):
        super().__init__()
        self.stem, self.mix = nn.Conv2d(3, 6, 4, stride=4), nn.Linear(6, 5)

    def forward(self, x):
        return self.mix(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@torch.no_grad()
def test_a_linear_layer_over_a_map_is_corrected_by_its_own_channels(wrap, images):
    model = merge(wrap(Last(), channels=5), SIZE)[0]
    plain = copy.deepcopy(model)
    assert correct_biases(model, images, Quantization(images, keep=("backbone.0.stem", "head"))) == 1
    mix = plain.backbone[0].mix
    exact = plain.backbone[0].stem(
        (torch.from_numpy(images) - plain.mean) * (1 if plain.scale is None else plain.scale)
    )
    exact = exact.permute(0, 2, 3, 1).double()
    output = F.linear(inputs(exact, exact, False), weights(mix.weight.double(), 127))
    error = (output - F.linear(exact, mix.weight.double())).mean((0, 1, 2))
    change = (model.backbone[0].mix.bias - mix.bias).double()
    assert error.abs().max() > 1e-4
    np.testing.assert_allclose(change.numpy(), -error.numpy(), rtol=0, atol=0.1 * error.abs().max().item())


@torch.no_grad()
def test_all_else_is_left_as_it_was(model, images):
    plain = copy.deepcopy(model)
    correct_biases(model, images, Quantization(images, keep=("backbone.0.deep",)))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, plain.state_dict()[name])}
    assert changed == {"backbone.0.first.bias", "head.fc.bias"}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    right = expected(plain, images, kept=("deep",))
    np.testing.assert_allclose(model.head.fc.bias.double().numpy(), right["fc"].numpy(), rtol=0, atol=1e-4)


class Twice(nn.Module):
    """One layer runs twice, on inputs of other ranges."""

    def __init__(self):
        super().__init__()
        self.stem, self.again = nn.Conv2d(3, 6, 4, stride=4), nn.Conv2d(6, 6, 1)

    def forward(self, x):
        return self.again(5 * self.again(self.stem(x)))


@torch.no_grad()
def test_a_layer_that_runs_twice_keeps_its_bias_and_is_rounded_over_both_ranges(wrap, images):
    model = merge(wrap(Twice(), channels=6), SIZE)[0]
    again, seen = model.backbone[0].again, []
    watch = again.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pixels = torch.from_numpy(images)
    model.logits(pixels)
    watch.remove()
    exact, _ = measure(model, pixels)
    both = torch.stack([part.flatten(1) for part in seen])
    least, most = both.amin((0, 2)), both.amax((0, 2))
    of_layer = {clip: exact["backbone.0.again"].input_range(clip) for clip in (False, True)}
    assert of_layer[False] == pytest.approx((least.min().item(), most.max().item()))
    assert of_layer[True] == pytest.approx((least.mean().item(), most.mean().item()))
    before = again.bias.clone()
    assert correct_biases(model, images, Quantization(images)) == 2
    assert torch.equal(again.bias, before)
