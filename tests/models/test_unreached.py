"""Backbones without the layers that only a classifier runs: counted and trained is what makes the feature map."""

from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from mlkdc.errors import UsageError
from mlkdc.models import Backbone, build_model, load_state, make_backbone, model_size
from mlkdc.models.weights import load_backbone
from mlkdc.recipe import Head, Model

#: Layers that timm keeps for a classifier without classes.
WITH_A_HEAD = {
    "mobilenetv3_small_100": ["conv_head"],
    "mobilenetv4_conv_small": ["conv_head", "norm_head"],
    "lcnet_050": ["conv_head"],
    "ghostnet_100": ["conv_head"],
    "convnext_atto": ["head.norm"],
    "edgenext_xx_small": ["head.norm"],
    "poolformer_s12": ["head.norm"],
    "hgnetv2_b0": ["head.last_conv.0", "head.last_conv.2"],
    "test_mambaout": ["head.norm", "head.pre_logits.fc"],
}
#: Those with nothing to remove: a student, one with a class token, one whose last normalization makes the map.
WITHOUT = ["mobilenetv2_100", "tf_efficientnet_lite0", "vit_tiny_patch16_224", "resnet10t", "shufflenetv2_x0_5"]
X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def build(name, classes=4, seed=0, weights="none"):
    torch.manual_seed(seed)
    spec = Model(model=name, weights=str(weights), head=Head(kind="linear", dropout=0))
    return build_model(spec, classes, 64).eval()


@pytest.mark.parametrize("name", [*WITH_A_HEAD, *WITHOUT])
def test_every_parameter_has_a_gradient_and_is_counted(name):
    model = build(name).train()
    model(255 * X).square().sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []
    in_graph = sum(parameter.numel() for parameter in model.parameters() if parameter.grad is not None)
    assert model_size(model, 64).params == in_graph


def test_the_size_of_mobilenet_v3():
    """Published for ImageNet: 5.4 M, of which the classifier has 1,281,000 and the layer before it 1,230,080."""
    size = model_size(build("mobilenetv3_large_100"), 224)
    assert size.params_backbone == 5_483_032 - 1281 * 1000 - 961 * 1280
    assert size.macs_backbone == pytest.approx(217e6, rel=0.02)


@pytest.mark.parametrize("name", [*WITH_A_HEAD, "mobilenetv2_100", "vit_tiny_patch16_224"])
def test_what_is_left_is_the_librarys_bit_for_bit(name):
    size = {"img_size": 64} if name == "vit_tiny_patch16_224" else {}
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=0, global_pool="", **size)
    drawn = torch.get_rng_state()
    torch.manual_seed(0)
    backbone = make_backbone(name, 1.0, 64)
    assert torch.equal(torch.get_rng_state(), drawn)
    left = backbone.body.state_dict()
    gone = theirs.state_dict().keys() - left.keys()
    assert {key.rpartition(".")[0] for key in gone if "running" not in key} >= set(WITH_A_HEAD.get(name, []))
    assert all(key.startswith(tuple(WITH_A_HEAD.get(name, ["none"]))) for key in gone)
    assert backbone.left_out == gone
    assert all(torch.equal(tensor, theirs.state_dict()[key]) for key, tensor in left.items())
    with torch.no_grad():
        assert torch.equal(backbone.eval().body.forward_features(X), theirs.eval().forward_features(X))
        assert torch.equal(backbone.stages(X)[-1], backbone(X))


def test_only_layers_that_nothing_comes_from_are_removed():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.used = nn.Conv2d(3, 4, 3)
            self.by_weight = nn.Linear(4, 4)  # whose weight is used, and not the layer
            self.constant = nn.Linear(4, 4).requires_grad_(False)
            self.head = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4))
            self.mixed = nn.ModuleDict({"used": nn.Conv2d(4, 4, 1), "not": nn.Conv2d(4, 4, 1)})

        def forward(self, x):
            x = self.mixed["used"](self.used(x)).permute(0, 2, 3, 1)
            return (x @ self.by_weight.weight + self.constant.bias).permute(0, 3, 1, 2)

    with torch.no_grad():
        backbone = Backbone(Odd(), 32, None, "odd")
    assert {key.rpartition(".")[0] for key in backbone.left_out} == {"head.0", "head.2", "mixed.not"}
    assert isinstance(backbone.body.head[1], nn.ReLU)
    backbone(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize("name", ["convnext_atto", "mobilenetv4_conv_small"])
def test_the_librarys_weights_load_without_them(tmp_path, name):
    torch.manual_seed(5)
    reference = timm.create_model(name).eval()
    save_file(reference.state_dict(), tmp_path / "w.safetensors")
    model = build(name, weights=tmp_path / "w.safetensors")
    assert torch.equal(model.features(255 * X), reference.forward_features(model.normalize(255 * X)))


@pytest.mark.parametrize("name", ["convnext_atto", "mobilenetv4_conv_small"])
def test_a_run_of_an_earlier_version_loads_with_them(tmp_path, name):
    saved = build(name, seed=1)
    theirs = timm.create_model(name, num_classes=0, global_pool="").state_dict()
    unused = {f"backbone.body.{key}": theirs[key] for key in saved.backbone.left_out}
    assert unused
    state = saved.state_dict() | unused
    save_file(state, tmp_path / "model.safetensors")
    model = build(name, seed=2)
    load_state(model, tmp_path / "model.safetensors", "run")
    assert torch.equal(model(255 * X), saved(255 * X))
    initial = build(name, seed=3, weights=tmp_path / "model.safetensors")
    assert torch.equal(initial(255 * X), saved(255 * X))
    with pytest.raises(UsageError, match=r"unexpected backbone\.body\.other\.weight"):
        load_state(model, state | {"backbone.body.other.weight": torch.zeros(1)}, "run")


def test_a_layer_of_the_body_that_is_named_like_a_classifier_is_loaded():
    backbone = make_backbone("resnet10t", 1.0, 64)
    backbone.cfg = replace(backbone.cfg, classifier="layer4")
    state = {name: torch.full_like(tensor, 2) for name, tensor in backbone.body.state_dict().items()}
    load_backbone(backbone, state | {"layer4.fc.weight": torch.zeros(1)}, "file")
    assert all((tensor == 2).all() for tensor in backbone.body.state_dict().values())
