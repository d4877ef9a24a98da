"""The images and labels of a training, and the processes that share them."""

from collections.abc import Sequence

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from mlkdc.recipe import Recipe
from mlkdc.records.manifest import Preprocess
from mlkdc.train.input.resample import stored_size
from mlkdc.train.input.store import EpochOrder, ImageStore, batches, images_for
from mlkdc.train.processes import state
from mlkdc.types import Sample, TaggedImages


def make_accelerator(recipe: Recipe) -> Accelerator:
    """The processes, the device and the precision of a training."""
    precision = {"fp32": "no", "fp16": "fp16", "bf16": "bf16"}[recipe.train.precision]
    # The library keeps one precision per process; a teacher and its student may differ in it.
    AcceleratorState._reset_state(reset_partial_state=False)
    state()
    # train.batch_size is the complete batch, however many processes share it.
    return Accelerator(mixed_precision=precision, dataloader_config=DataLoaderConfiguration(split_batches=True))


def training_set(data: TaggedImages, splits: Sequence[str]) -> tuple[list[Sample], Tensor]:
    """All samples of some splits, and their labels ``float[n, q]``."""
    samples: list[Sample] = []
    targets = []
    for name in splits:
        samples += data.split(name)
        targets.append(data.targets(name))
    return samples, torch.from_numpy(np.concatenate(targets)).float()


def training_images(recipe: Recipe, samples: Sequence[Sample], sizes: Sequence[int]) -> ImageStore:
    """All images to train on, as large as views of these sizes need them."""
    data = recipe.data
    stored = [stored_size(size, data.augment.crop) for size in sizes]
    resampling = Image.Resampling.BILINEAR
    if data.augment.crop < 1:
        # Views are made smaller once more: two bilinear filters would leave them less sharp than validation images.
        resampling = Image.Resampling.LANCZOS
    return ImageStore(samples, stored, data.fit, resampling)


def training_batches(
    recipe: Recipe, store: ImageStore, order: EpochOrder, repeats: bool
) -> DataLoader[tuple[int, tuple[Tensor, ...]]]:
    """Batches of new images, of all processes together.

    Args:
        recipe: of the training.
        store: all training images.
        order: in which the images come.
        repeats: whether half of each batch is the last one's, so that only the other half is new.
    """
    new_images = recipe.train.batch_size
    if repeats:
        new_images //= 2
    return batches(store, new_images, recipe.data.workers, order)


def validation_images(data: TaggedImages, recipe: Recipe, preprocess: Preprocess) -> ImageStore | None:
    """What the student is scored on after every epoch; None without a split that is not trained on."""
    samples = data.split("val")
    if not samples or "val" in recipe.data.train_splits:
        return None
    return images_for(preprocess, samples)
