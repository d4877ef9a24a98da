"""The complete model: normalization, backbone and head apart, counting, optimizer groups."""

import numpy as np
import pytest
import torch
from torch import nn

from mlkdc.models import STUDENTS, build_model, model_size, parameter_groups
from mlkdc.models.model import MultiLabelModel
from mlkdc.recipe import Head, Model
from mlkdc.records.manifest import Preprocess


def _build(name="mobilenetv2", classes=6, size=64, kind="compact", **rest):
    torch.manual_seed(0)
    return build_model(Model(model=name, weights="none", head=Head(kind=kind), **rest), classes, size).eval()


@pytest.mark.parametrize("name", STUDENTS)
def test_backbone_and_head_apart_equal_the_model(name):
    model = _build(name)
    x = 255 * torch.rand(2, 3, 64, 64)
    logits = model(x)
    assert logits.shape == (2, 6)
    features = model.backbone(model.normalize(x))
    assert torch.equal(features, model.features(x))
    output = model.head(features)
    assert torch.equal(output.logits, logits)
    assert output.embeddings.shape == (2, 6, 256)


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("mobilenetv2", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("shufflenetv2_x0_5", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("tf_efficientnet_lite0", [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
    ],
)
def test_normalizes_as_the_pretrained_weights_expect(name, mean, std):
    model = _build(name, size=32)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32))
    expected = (pixels / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    normalized = model.normalize(torch.from_numpy(pixels).float())
    np.testing.assert_allclose(normalized.numpy(), expected, atol=1e-5)
    assert model.preprocess == Preprocess(size=32, mean=tuple(mean), std=tuple(std))
    assert not {"mean", "std"} & set(model.state_dict())


@pytest.mark.parametrize(
    ("name", "kind", "backbone", "head"),
    [
        ("mobilenetv2", "decoder", 299e6, 458e6),
        ("mobilenetv2", "compact", 299e6, 56e6),
        ("repvgg_a0", "compact", 1511e6, 56e6),
        ("shufflenetv2_x1_0", "linear", 144e6, 1024 * 80),
    ],
)
def test_multiply_adds_against_published_figures(name, kind, backbone, head):
    model = _build(name, classes=80, kind=kind)
    size = model_size(model, 224)
    assert size.macs_backbone == pytest.approx(backbone, rel=0.02)
    assert size.macs_head == pytest.approx(head, rel=0.02)
    assert size.macs == size.macs_backbone + size.macs_head
    assert size.params == sum(parameter.numel() for parameter in model.parameters())
    assert size.params == size.params_backbone + size.params_head


def test_counting_by_hand_and_leaving_the_model_alone():
    class Map(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)

        def forward(self, x):
            return self.conv(x)

    model = MultiLabelModel(Map(), _build(kind="linear").head, Preprocess(size=8))
    model.head.fc = nn.Linear(4, 2)
    model.train()
    size = model_size(model, 8)
    assert size.macs_backbone == 4 * 4 * 4 * 3 * 9
    assert size.macs_head == 4 * 2
    assert size.params == 4 * 3 * 9 + 4 * 2 + 2
    assert model.training
    assert model.backbone.conv.weight.device.type == "cpu"


def test_weight_decay_is_only_for_weights():
    model = _build("repvgg_a0", size=32)
    decayed, plain = parameter_groups(model.parameters(), 1e-4, lr=0.1)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (1e-4, 0.0)
    norms = (nn.BatchNorm2d, nn.LayerNorm)
    spared = {id(p) for module in model.modules() if isinstance(module, norms) for p in module.parameters()}
    spared |= {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
    assert {id(p) for p in plain["params"]} == spared
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))


def test_the_seed_decides_the_initial_weights():
    first, second = _build(size=32), _build(size=32)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
