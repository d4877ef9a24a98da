"""The small networks of distillation tables: the papers' parameter counts and depths, maps, stages, no weights."""

import pytest
import timm
import torch
import torchvision.models as zoo
from torch import nn

from mlkdc.errors import UsageError
from mlkdc.models import build_model, check_name, make_backbone, model_names
from mlkdc.models.cifar import CIFAR
from mlkdc.recipe import Head, Model

# Millions of parameters as printed, and the number of classes there: He et al. 2016, table 6; Zagoruyko and Komodakis
# 2016, tables 4 and 5; resnet32x4: the sum over the layers of the CRD release's definition, 100 classes.
PRINTED = {
    "resnet20": (0.27, 10),
    "resnet56": (0.85, 10),
    "resnet32x4": (7.43, 100),
    "wrn_16_2": (0.7, 10),
    "wrn_40_1": (0.6, 10),
    "wrn_40_2": (2.2, 10),
}
CHANNELS = {"resnet20": 64, "resnet56": 64, "resnet32x4": 256, "wrn_16_2": 128, "wrn_40_1": 64, "wrn_40_2": 128}


def by_hand(name: str, classes: int) -> int:
    """Parameters added up from the papers' tables of layers."""
    depth, stem, widths = {
        "resnet20": (20, 16, (16, 32, 64)),
        "resnet56": (56, 16, (16, 32, 64)),
        "resnet32x4": (32, 32, (64, 128, 256)),
        "wrn_16_2": (16, 16, (32, 64, 128)),
        "wrn_40_1": (40, 16, (16, 32, 64)),
        "wrn_40_2": (40, 16, (32, 64, 128)),
    }[name]
    wide = name.startswith("wrn")
    blocks = (depth - (4 if wide else 2)) // 6
    total, before = 27 * stem, stem
    for width in widths:
        for at in range(blocks):
            total += 9 * before * width + 9 * width * width  # two 3x3 convolutions
            total += 2 * (before if wide else width) + 2 * width  # scale and shift of two BatchNorms
            if before != width or (at == 0 and width != widths[0]):
                total += before * width + (0 if wide else 2 * width)  # shortcut
            before = width
    return total + 2 * (widths[-1] if wide else stem) + (widths[-1] + 1) * classes


@pytest.mark.parametrize("name", CIFAR)
def test_parameters_are_the_papers(name):
    printed, classes = PRINTED[name]
    spec = Model(model=name, weights="none", head=Head(kind="linear"))
    parameters = sum(item.numel() for item in build_model(spec, classes, 32).parameters())
    assert parameters == by_hand(name, classes)
    digits = len(str(printed).split(".")[1])
    assert abs(parameters / 1e6 - printed) < 0.7 * 10**-digits  # option B has a few more than He's


@pytest.mark.parametrize("name", CIFAR)
def test_depth_is_what_the_name_says(name):
    convs = [layer for layer in make_backbone(name, 1.0, 32).modules() if isinstance(layer, nn.Conv2d)]
    three = sum(conv.kernel_size == (3, 3) for conv in convs)
    shortcuts = len(convs) - three
    if name.startswith("wrn"):
        assert three + 3 == int(name.split("_")[1])  # the paper counts a shortcut for each of the three groups
    else:
        assert three + 1 == int(name.removeprefix("resnet").split("x")[0])  # and the classifier
    assert shortcuts == (2 if name in ("resnet20", "resnet56", "wrn_40_1") else 3)


@pytest.mark.parametrize("name", CIFAR)
@pytest.mark.parametrize(("size", "side"), [(32, 8), (50, 13)])
def test_map_is_a_quarter_of_the_image_in_three_stages(name, size, side):
    torch.manual_seed(0)
    backbone = make_backbone(name, 1.0, size)
    x = torch.randn(2, 3, size, size)
    assert backbone(x).shape == (2, CHANNELS[name], side, side)
    assert backbone.channels == CHANNELS[name]
    sides = []
    for stage in backbone.body:
        x = stage(x)
        sides.append(x.shape[-1])
    assert sides == [size, -(-size // 2), side]


@pytest.mark.parametrize("name", ["resnet20", "wrn_16_2"])
def test_map_is_activated_and_every_weight_is_learned(name):
    torch.manual_seed(0)
    backbone = make_backbone(name, 1.0, 32)
    features = backbone(torch.randn(4, 3, 32, 32))
    assert features.min() == 0 < features.max()
    features.square().mean().backward()
    assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in backbone.parameters())


def test_resnet20_computes_what_torchvisions_blocks_compute():
    torch.manual_seed(0)
    ours = make_backbone("resnet20", 1.0, 32).body
    reference = zoo.ResNet(zoo.resnet.BasicBlock, [3, 3, 3, 1])
    reference.inplanes = 16
    layers = [
        reference._make_layer(zoo.resnet.BasicBlock, width, 3, stride) for width, stride in ((16, 1), (32, 2), (64, 2))
    ]
    theirs = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *layers)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x))


def test_names_are_listed_and_in_no_library():
    assert not set(CIFAR) & {*timm.list_models(), *zoo.list_models(module=zoo)}
    assert set(CIFAR) < set(model_names())
    with pytest.raises(UsageError, match="resnet20"):
        check_name("resnet2o")
    with pytest.raises(UsageError, match=r"wrn_16_2 has no channel multiplier"):
        make_backbone("wrn_16_2", 0.5, 32)


def test_there_are_no_pretrained_weights_and_it_says_so():
    message = r"no pretrained weights for resnet56: train from scratch with --set student.weights=none"
    with pytest.raises(UsageError, match=message):
        build_model(Model(model="resnet56"), 3, 32)


def test_vgg13_of_the_tables_ends_before_its_fully_connected_layers():
    torch.manual_seed(0)
    backbone = make_backbone("vgg13", 1.0, 64).eval()
    assert sum(item.numel() for item in backbone.parameters()) == 9_404_992  # Simonyan and Zisserman 2015, network B
    reference = zoo.vgg13(weights=None).eval()
    reference.load_state_dict(backbone.body.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(backbone(x), reference.features(x))
    assert [stage.shape[-1] for stage in backbone.stages(x)] == [16, 8, 4, 2]
