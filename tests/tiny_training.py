"""A training of seconds."""

from pathlib import Path

from mlkdc.recipe import Recipe, make_recipe

TINY_HEAD = {"kind": "compact", "dim": 16, "ffn": 16, "heads": 2}
TINY_TRAIN = {"epochs": 2, "batch_size": 8, "optimizer": "adamw", "lr": 0.003}


def tiny_recipe(photos: Path, **changes: object) -> Recipe:
    """Seconds of L2D: a narrow MobileNetV2 at 32 px, taught by a small ResNet at 48 px."""
    values = {
        "name": "tiny",
        "data": {"path": str(photos), "image_size": 32, "augment": {"crop": 0.7, "cutout": 0.3, "brightness": 0.2}},
        "student": {"model": "mobilenetv2", "width": 0.25, "weights": "none", "head": TINY_HEAD},
        "teacher": {
            "model": "resnet10t",
            "weights": "none",
            "image_size": 48,
            "head": TINY_HEAD,
            "train": {**TINY_TRAIN, "epochs": 1},
        },
        "distill": {"method": "l2d", "terms": {"cd": 1, "id": 1}},
        "train": TINY_TRAIN,
        "bench": {"passes": 1, "threads": [1]},
    }
    return make_recipe({**values, **changes}, "tiny")
