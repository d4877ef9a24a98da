"""What a batch of training views costs: mlkdc's, a crop by grid_sample, and torchvision's, image by image; in turns.

    OMP_NUM_THREADS=1 python benchmarks/views.py

Random pixels in memory, flipped and cropped to half of the area at least; the figures go to
benchmarks/results/views.json. A crop by grid_sample takes an image that was stored at the view's size, and is what
enlarges and blurs it; mlkdc's and torchvision's reduce a larger one with an antialiasing filter.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from study import in_turns
from study_records import ViewRow, ViewsStudy
from torch import Tensor
from torchvision.transforms import v2

from mlkdc.models import build_model
from mlkdc.recipe import Augment, Head, Model
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions
from mlkdc.train.input.resample import stored_size
from mlkdc.train.input.views import Views

RESULTS = Path(__file__).parent / "results" / ViewsStudy.FILE
SIZES, BATCH, CROP, PASSES = (96, 224), 32, 0.5, 5


def by_grid(images: Tensor, size: int) -> Tensor:
    """Crops of one area and shape at random places; half of them mirrored."""
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0] = CROP**0.5 * torch.randint(2, (len(images),)).mul(2).sub(1)
    theta[:, 1, 1] = CROP**0.5
    theta[:, :, 2] = (1 - CROP**0.5) * (2 * torch.rand(len(images), 2) - 1)
    grid = F.affine_grid(theta, [len(images), 3, size, size], align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False)


def one_by_one(images: Tensor, size: int) -> Tensor:
    """As torchvision's documentation augments."""
    view = v2.Compose([v2.RandomResizedCrop(size, (CROP, 1), antialias=True), v2.RandomHorizontalFlip()])
    return torch.stack([view(image) for image in images]).float()


def training_step(size: int) -> Callable[[], None]:
    """Forward and backward pass of MobileNetV2 on such a batch, without an optimizer."""
    spec = Model(model="mobilenetv2", weights="none", head=Head(bias="zero"))
    model, images = build_model(spec, 20, size), torch.rand(BATCH, 3, size, size) * 255
    return lambda: torch.autograd.backward(model(images).sum())


def milliseconds(way: Callable[[], object]) -> float:
    """Of an image: the median of three calls, after one that is not counted."""
    way()
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        way()
        taken.append(1000 * (time.perf_counter() - start))
    return median(taken) / BATCH


def compared(size: int) -> list[ViewRow]:
    """One row per way."""
    stored = stored_size(size, CROP)
    large = torch.randint(256, (BATCH, 3, stored, stored), dtype=torch.uint8)
    small = torch.randint(256, (BATCH, 3, size, size), dtype=torch.uint8)
    views = Views(Augment(flip=True, crop=CROP), BATCH, seed=0)
    views.set_epoch(0)
    ways: dict[str, Callable[[], object]] = {
        "mlkdc": partial(views, torch.arange(BATCH), large, size),
        "grid_sample": partial(by_grid, small, size),
        "torchvision, one by one": partial(one_by_one, large, size),
        "training step": training_step(size),
    }
    timed = {name: partial(milliseconds, way) for name, way in ways.items()}
    rows = []
    for name, (ms_per_image, ratio) in in_turns(timed, PASSES, baseline="mlkdc").items():
        rows.append(ViewRow(way=name, image_size=size, ms_per_image=ms_per_image, ratio_to_mlkdc=ratio))
    return rows


def main() -> None:
    """Measure and write it."""
    rows = tuple(row for size in SIZES for row in compared(size))
    used = versions(("mlkdc", "torch", "torchvision"))
    ViewsStudy(machine=machine(), versions=used, rows=rows).save_as(RESULTS)


if __name__ == "__main__":
    main()
