"""The short names of models, as data. No torch here, so that names can be listed and checked without it."""

#: Short names of the small models meant for devices, and the names timm or torchvision have for them.
STUDENTS = {
    "mobilenetv2": "mobilenetv2_100",
    "repvgg_a0": "repvgg_a0",
    "shufflenetv2_x0_5": "shufflenet_v2_x0_5",
    "shufflenetv2_x1_0": "shufflenet_v2_x1_0",
}

#: All short names of models from the libraries, and what they stand for. torchvision's names of transformers stand for
#: timm's models, which take any image size.
ALIASES = STUDENTS | {
    "swin_t": "swin_tiny_patch4_window7_224",
    "swin_s": "swin_small_patch4_window7_224",
    "swin_b": "swin_base_patch4_window7_224",
    "wrn_50": "wide_resnet50_2",
    "wrn_101": "wide_resnet101_2",
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
    "vit_l_32": "vit_large_patch32_224",
    "vit_h_14": "vit_huge_patch14_224",
}

#: The networks for 32 x 32 images that no library has; :mod:`mlkdc.models.cifar` builds them.
CIFAR_NAMES = ("resnet20", "resnet56", "resnet32x4", "wrn_16_2", "wrn_40_1", "wrn_40_2")


def short_names() -> list[str]:
    """Every name of a model that mlkdc itself defines: students first, then other aliases, then the CIFAR networks."""
    return [*ALIASES, *CIFAR_NAMES]
