"""Records with plausible values, for tests that need a valid one and look at something else."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mlkdc.records.manifest import InputSpec, Manifest, MergeReport, OutputSpec, RuntimeDetails
from mlkdc.records.manifest import describe_files as describe
from mlkdc.records.parity import Parity
from mlkdc.records.preparation import Preparation
from mlkdc.records.results import ModelSize

SIZE = ModelSize(params=30, params_backbone=20, params_head=10, macs=300, macs_backbone=200, macs_head=100)
MERGED = MergeReport(
    branches=0, conv_bn=0, normalization=False, head=False, before=SIZE, after=SIZE, max_logit_difference=0.0
)
CLASSES = ("red", "green", "blue")


def make_manifest(folder: Path, files: list[str], *, size: int = 8, **changes: Any) -> Manifest:
    """The manifest of an ONNX artifact with three classes, whose files lie in ``folder``; it is not saved."""
    dtype = changes.pop("dtype", "float32")
    values: dict[str, Any] = {
        "name": "photos",
        "target": "onnx",
        "runtime": "onnxruntime",
        "precision": "fp32",
        "files": describe(folder, files),
        "classes": CLASSES,
        "thresholds": (0.5, 0.5, 0.5),
        "preprocess": Preparation(size=size),
        "input": InputSpec(name="image", shape=(1, 3, size, size), layout="NCHW", dtype=dtype),
        "output": OutputSpec(name="probabilities", shape=(1, 3)),
        "dynamic_batch": False,
        "recipe_hash": "0" * 12,
        "versions": {},
        "created": "2026-01-01T00:00:00+00:00",
        "merge": MERGED,
        "details": RuntimeDetails(),
        "parity": Parity(passed=True),
        "status": "ok",
    }
    return Manifest(**{**values, **changes})


COLORS = {"red": 0, "green": 1, "blue": 2}


def write_photos(folder: Path, count: int = 48, size: int = 40) -> Path:
    """Noise images whose channels are bright where the labels red, green, blue say so, with a labels.csv."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    lines = ["image,labels,split"]
    for number in range(count):
        labels = [name for name in COLORS if random.random() < 0.5] or ["red"]
        pixels = random.integers(0, 60, (size, size, 3))
        for name in labels:
            pixels[..., COLORS[name]] += 150
        name = f"images/{number:03d}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
        split = ("train", "train", "train", "val", "test")[number % 5]
        lines.append(f"{name},{'|'.join(labels)},{split}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "classes.txt").write_text("\n".join(COLORS) + "\n", encoding="utf-8")
    return folder
