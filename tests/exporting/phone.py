"""A tiny model with what phone nets are made of; exported and opened without a run."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from mlkdc.exporting.formats import EXPORTERS, INPUT, OUTPUT, Job, Quantization
from mlkdc.exporting.merging.merge import ExportModel, merge
from mlkdc.models import DecoderHead, MultiLabelModel
from mlkdc.records.manifest import Preprocess
from mlkdc.runtime import Manifest
from mlkdc.runtime.base import RUNTIMES, Backend
from mlkdc.runtime.targets import load_target

SIZE = 64
CLASSES = 3


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.BatchNorm2d(2 * width), nn.ReLU6())
        depth = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.deep = nn.Sequential(depth, nn.BatchNorm2d(2 * width), nn.ReLU6())
        self.narrow = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(self.deep(self.wide(x)))


def make_trained() -> MultiLabelModel:
    """``backbone.0`` is its first layer, ``head`` a decoder."""
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(3, 2, 1)]
    head = DecoderHead(8, CLASSES, dim=16, ffn=32, heads=2, dropout=0.0)
    unequal = Preprocess(size=SIZE, mean=(0.2, 0.5, 0.8), std=(0.3, 0.2, 0.1))
    model = MultiLabelModel(nn.Sequential(*stem, _Residual(8)), head, unequal)
    # As lively as a trained one: pictures get answers that are far apart, so that a wrong one shows.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.2)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, 0, 2 * module.weight[0].numel() ** -0.5)
    nn.init.normal_(head.weight)
    return model.eval()


def make_model() -> ExportModel:
    """The same, merged, its head folded."""
    return merge(make_trained(), SIZE)[0]


def photos(count: int = 8) -> np.ndarray:
    """Coarse grain, each picture in a color of its own: ``uint8[count, 3, SIZE, SIZE]``."""
    random = np.random.default_rng(0)
    color = random.integers(0, 200, (count, 3, 1, 1))
    grain = random.integers(0, 56, (count, 3, 8, 8)).repeat(8, axis=2).repeat(8, axis=3)
    return (color + grain).astype(np.uint8)


def make_job(
    model: ExportModel, target: str, folder: Path, dtype: str = "float32", quantization: Quantization | None = None
) -> Job:
    precision = "int8" if quantization else "fp32"
    spec = load_target(target)
    return Job(model, folder, spec, precision, (1, 3, SIZE, SIZE), dtype, False, CLASSES, quantization)


def export(job: Job) -> Manifest:
    """Run the exporter; the manifest says what a backend looks at, and is not on disk."""
    built = EXPORTERS.get(job.target.format)(job)
    assert sorted(built.files) == sorted(path.name for path in job.folder.iterdir())
    manifest = Manifest.__new__(Manifest)
    manifest.files = {name: {} for name in built.files}
    shape = [1, SIZE, SIZE, 3] if job.target.layout == "NHWC" else [1, 3, SIZE, SIZE]
    manifest.input = {"name": INPUT, "shape": shape, "layout": job.target.layout, "dtype": job.input_dtype}
    manifest.output = {"name": OUTPUT, "shape": [1, CLASSES], "dtype": "float32"}
    manifest.details = built.details
    manifest.dynamic_batch = False
    return manifest


def opened(job: Job, manifest: Manifest, threads: int | None = 1) -> Backend:
    return RUNTIMES.get(job.target.runtime)(job.folder, manifest, threads)


def answers(backend: Backend, manifest: Manifest, images: np.ndarray) -> np.ndarray:
    """``float32[n, CLASSES]`` of pictures ``[n, 3, SIZE, SIZE]``, one by one."""
    if manifest.input["layout"] == "NHWC":
        images = images.transpose(0, 2, 3, 1)
    images = np.ascontiguousarray(images, dtype=manifest.input["dtype"])
    found = [backend.run(image[None]) for image in images]
    assert all(each.shape == (1, CLASSES) and each.dtype == np.float32 for each in found)
    return np.concatenate(found)


def expected(model: ExportModel, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(images)).numpy()
