"""Views and their images: draws depend only on seed, epoch and image; every change does what it says; memory."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlkdc.recipe import Augment
from mlkdc.train.input import store
from mlkdc.train.input.store import EpochOrder, ImageStore, batches
from mlkdc.train.input.views import Views, resize
from mlkdc.types import Sample

ALL = Augment(flip=True, crop=0.4, cutout=0.3, brightness=0.3, randaugment=True)
PLAIN = Augment(flip=False)


def images(count: int = 6, size: int = 24) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def drawn(augment: Augment, index: list[int], epoch: int = 0, seed: int = 0, size: int = 24) -> torch.Tensor:
    views = Views(augment, size, 6, seed)
    views.set_epoch(epoch)
    return views(torch.tensor(index), images(size=24)[index])


def test_a_view_does_not_depend_on_its_batch() -> None:
    batch = drawn(ALL, [0, 1, 2, 3, 4, 5])
    assert torch.allclose(batch[[4, 1]], drawn(ALL, [4, 1]), atol=1e-3)
    assert torch.equal(batch, drawn(ALL, [0, 1, 2, 3, 4, 5]))
    assert not torch.equal(batch, drawn(ALL, [0, 1, 2, 3, 4, 5], epoch=1))
    assert not torch.equal(batch, drawn(ALL, [0, 1, 2, 3, 4, 5], seed=1))


def test_without_changes_a_view_is_the_image() -> None:
    assert torch.equal(drawn(PLAIN, [0, 1]), images()[:2].float())


def test_half_of_the_images_are_mirrored() -> None:
    views = Views(Augment(flip=True), 4, 1000, 0)
    views.set_epoch(0)
    image = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4).expand(1000, -1, -1, -1)
    result = views(torch.arange(1000), image)
    mirrored = (result == image.flip(-1)).flatten(1).all(1)
    assert (mirrored | (result == image).flatten(1).all(1)).all()
    assert 430 < mirrored.sum() < 570


def test_cutout_fills_one_square_of_the_set_size_with_one_color() -> None:
    views = Views(Augment(flip=False, cutout=0.5), 40, 200, 0)
    views.set_epoch(0)
    result = views(torch.arange(200), torch.zeros(200, 3, 40, 40, dtype=torch.uint8))
    changed = (result != 0).any(1)
    assert changed.flatten(1).sum(1).max() == 20 * 20
    for view, where in zip(result, changed, strict=True):
        assert len(view[:, where].unique(dim=1).T) == 1


def test_a_crop_keeps_within_the_image_and_its_area() -> None:
    """An image whose red is x and green is y, so that a crop's extent can be read from its colors."""
    ramp = torch.linspace(0, 255, 64)
    image = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64)]).byte()
    views = Views(Augment(flip=False, crop=0.3), 64, 100, 0)
    views.set_epoch(0)
    result = views(torch.arange(100), image.expand(100, -1, -1, -1))
    wide = (result[:, 0].amax((1, 2)) - result[:, 0].amin((1, 2))) / 255
    high = (result[:, 1].amax((1, 2)) - result[:, 1].amin((1, 2))) / 255
    area = wide * high
    assert area.min() > 0.25
    assert area.max() > 0.9
    assert 0.55 < area.mean() < 0.75


def test_a_flip_mirrors_the_same_crop() -> None:
    image = images(1, 32).expand(100, -1, -1, -1)
    results = []
    for flip in (False, True):
        views = Views(Augment(flip=flip, crop=0.3), 32, 100, 0)
        views.set_epoch(0)
        results.append(views(torch.arange(100), image))
    plain, flipped = results
    unchanged = (flipped - plain).abs().amax((1, 2, 3)) < 0.1
    mirrored = (flipped - plain.flip(-1)).abs().amax((1, 2, 3)) < 0.1
    assert (unchanged ^ mirrored).all()
    assert 30 < mirrored.sum() < 70


def test_resize_is_pillows() -> None:
    image = images(1, 50)
    ours = resize(image.float(), 20)[0].permute(1, 2, 0).numpy()
    pillow = Image.fromarray(image[0].permute(1, 2, 0).numpy()).resize((20, 20), Image.Resampling.BILINEAR)
    assert np.abs(ours - np.asarray(pillow)).max() < 1.01


@pytest.mark.parametrize("epoch", [0, 5])
def test_order_is_a_permutation_that_epoch_and_seed_fix(epoch: int) -> None:
    order = EpochOrder(50, seed=3)
    order.epoch = epoch
    assert sorted(order) == list(range(50))
    assert list(order) == list(order)
    order.epoch = epoch + 1
    next_order = list(order)
    order.epoch = epoch
    assert next_order != list(order)


def test_memory_of_a_system_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.memory_bytes() > 0
    monkeypatch.setattr(os, "sysconf", lambda _: -1, raising=False)
    assert store.memory_bytes() == store.ASSUMED_MEMORY_BYTES

    def unknown(_: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown, raising=False)
    assert store.memory_bytes() == store.ASSUMED_MEMORY_BYTES
    monkeypatch.delattr(os, "sysconf")  # as on Windows
    assert store.memory_bytes() == store.ASSUMED_MEMORY_BYTES


def test_images_are_kept_in_memory_up_to_a_quarter_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (10, 20), (number, 2 * number, 3 * number)).save(path)
        samples.append(Sample(path, (0,), "train"))
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    stored = 5 * 3 * 8 * 8
    monkeypatch.setattr(store, "memory_bytes", lambda: 4 * stored)
    in_memory = ImageStore(samples, 8)
    monkeypatch.setattr(store, "memory_bytes", lambda: 4 * stored - 1)
    on_demand = ImageStore(samples, 8)
    assert in_memory.cached is not None
    assert on_demand.cached is None
    for index in range(5):
        assert torch.equal(in_memory[index][1], on_demand[index][1])
        assert on_demand[index][1].flatten(1).unique(dim=1).flatten().tolist() == [index, 2 * index, 3 * index]
    sizes = [len(index) for index, _ in batches(in_memory, 2, workers=0, order=None)]
    assert sizes == [2, 2, 1]
    sizes = [len(index) for index, _ in batches(in_memory, 2, workers=0, order=EpochOrder(5, 0))]
    assert sizes == [2, 2]
