"""Views and their images: draws depend only on seed, epoch and image; every change does what it says; memory."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from boxes import drawn_boxes
from PIL import Image

from mlkdc.images import load_square, open_rgb
from mlkdc.recipe import Augment
from mlkdc.train.input import store
from mlkdc.train.input.resample import resample, stored_size
from mlkdc.train.input.store import EpochOrder, ImageStore, batches
from mlkdc.train.input.views import Views, crop_boxes
from mlkdc.types import Sample

ALL = Augment(flip=True, crop=0.4, cutout=0.3, brightness=0.3, randaugment=True)
PLAIN = Augment(flip=False)


def images(count: int = 6, size: int = 24) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def drawn(augment: Augment, index: list[int], epoch: int = 0, seed: int = 0, size: int = 24) -> torch.Tensor:
    views = Views(augment, 6, seed)
    views.set_epoch(epoch)
    return views(torch.tensor(index), images(size=24)[index], size)


def test_a_view_does_not_depend_on_its_batch() -> None:
    batch = drawn(ALL, [0, 1, 2, 3, 4, 5])
    assert torch.allclose(batch[[4, 1]], drawn(ALL, [4, 1]), atol=1e-3)
    assert torch.equal(batch, drawn(ALL, [0, 1, 2, 3, 4, 5]))
    assert not torch.equal(batch, drawn(ALL, [0, 1, 2, 3, 4, 5], epoch=1))
    assert not torch.equal(batch, drawn(ALL, [0, 1, 2, 3, 4, 5], seed=1))


def test_without_changes_a_view_is_the_image() -> None:
    assert torch.equal(drawn(PLAIN, [0, 1]), images()[:2].float())


def test_half_of_the_images_are_mirrored() -> None:
    views = Views(Augment(flip=True), 1000, 0)
    views.set_epoch(0)
    image = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4).expand(1000, -1, -1, -1)
    result = views(torch.arange(1000), image, 4)
    mirrored = (result == image.flip(-1)).flatten(1).all(1)
    assert (mirrored | (result == image).flatten(1).all(1)).all()
    assert 430 < mirrored.sum() < 570


def test_cutout_fills_one_square_of_the_set_size_with_one_color() -> None:
    views = Views(Augment(flip=False, cutout=0.5), 200, 0)
    views.set_epoch(0)
    result = views(torch.arange(200), torch.zeros(200, 3, 40, 40, dtype=torch.uint8), 40)
    changed = (result != 0).any(1)
    assert changed.flatten(1).sum(1).max() == 20 * 20
    for view, where in zip(result, changed, strict=True):
        assert len(view[:, where].unique(dim=1).T) == 1


def test_a_crop_keeps_within_the_image_and_its_area() -> None:
    """An image whose red is x and green is y, so that a crop's extent can be read from its colors."""
    ramp = torch.linspace(0, 255, 64)
    image = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64)]).byte()
    views = Views(Augment(flip=False, crop=0.3), 100, 0)
    views.set_epoch(0)
    result = views(torch.arange(100), image.expand(100, -1, -1, -1), 64)
    wide = (result[:, 0].amax((1, 2)) - result[:, 0].amin((1, 2))) / 255
    high = (result[:, 1].amax((1, 2)) - result[:, 1].amin((1, 2))) / 255
    area = wide * high
    assert area.min() > 0.25
    assert area.max() > 0.9
    assert 0.55 < area.mean() < 0.75


@pytest.mark.parametrize("crop", [0.1, 0.76, 0.8, 0.9, 0.99])
def test_no_crop_is_smaller_than_the_smallest(crop: float) -> None:
    draws = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(1))
    draws[:1000, 0] = 0  # of the smallest area
    left, top, right, bottom = crop_boxes(draws, crop).double().T
    area = (right - left) * (bottom - top)
    assert area.min() > crop - 1e-6
    assert area.max() <= 1
    assert min(left.min(), top.min()) >= 0
    assert max(right.max(), bottom.max()) <= 1 + 1e-6
    assert area.min() < crop + 1e-3


@pytest.mark.parametrize("crop", [0.05, 0.3, 0.34, 0.5, 0.7, 0.75])
def test_crops_of_three_quarters_and_less_are_the_same_bit_for_bit_as_ever(crop: float) -> None:
    """By the formula without a smallest area: published figures were made with such crops."""
    draws = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(1))
    area = crop + (1 - crop) * draws[:, 0]
    stretch = torch.exp((2 * draws[:, 1] - 1) * math.log(4 / 3) / 2)
    width, height = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
    left, top = draws[:, 2] * (1 - width), draws[:, 3] * (1 - height)
    boxes = torch.stack([left, top, left + width, top + height], dim=1)
    assert torch.equal(crop_boxes(draws, crop), boxes)


def test_a_flip_mirrors_the_same_crop() -> None:
    image = images(1, 32).expand(100, -1, -1, -1)
    results = []
    for flip in (False, True):
        views = Views(Augment(flip=flip, crop=0.3), 100, 0)
        views.set_epoch(0)
        results.append(views(torch.arange(100), image, 32))
    plain, flipped = results
    unchanged = (flipped - plain).abs().amax((1, 2, 3)) < 0.1
    mirrored = (flipped - plain.flip(-1)).abs().amax((1, 2, 3)) < 0.1
    assert (unchanged ^ mirrored).all()
    assert 30 < mirrored.sum() < 70


def pillows(image: torch.Tensor, box: tuple[float, ...], size: int) -> np.ndarray:
    """A box in pixels of ``[3, s, s]``, resized by Pillow without rounding: ``float32[3, size, size]``."""
    channels = []
    for channel in image.float().numpy():
        resized = Image.fromarray(channel).resize((size, size), Image.Resampling.BILINEAR, box=box)
        channels.append(np.asarray(resized))
    return np.stack(channels)


@pytest.mark.parametrize(("stored", "size"), [(64, 24), (64, 40), (64, 63), (32, 48)])
def test_a_box_is_resized_as_pillow_does(stored: int, size: int) -> None:
    """Reduced, enlarged, at the border of the image and inside of it; more images than are resampled together."""
    random = np.random.default_rng(size)
    # In 64ths of a pixel: Pillow has no more digits of a box.
    edges = np.sort(random.integers(0, 64 * stored, (9, 2, 2)), axis=-1) / 64
    edges[0], edges[1, 0] = [0, stored], [0, stored / 2]
    boxes = torch.from_numpy(np.concatenate([edges[..., 0], edges[..., 1]], axis=1))
    mirrored = torch.arange(9) % 2 == 1
    image = images(9, stored)
    views = resample(image, boxes / stored, mirrored, size).numpy()
    for number in range(9):
        expected = pillows(image[number], tuple(boxes[number].tolist()), size)
        if mirrored[number]:
            expected = expected[..., ::-1]
        np.testing.assert_allclose(views[number], expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("crop", [0.4, 0.9])
def test_a_view_is_the_box_that_its_numbers_say(crop: float) -> None:
    """By numbers drawn here, and Pillow: area and aspect ratio are those of the documentation."""
    stored, size = 64, 32
    image = images(6, stored)
    views = Views(Augment(flip=False, crop=crop), 6, 5)
    views.set_epoch(3)
    result = views(torch.arange(6), image, size)
    for number, fractions in enumerate(drawn_boxes(seed=5, view=3, images=6, crop=crop)):
        box = tuple(stored * edge for edge in fractions)
        np.testing.assert_allclose(result[number].numpy(), pillows(image[number], box, size), rtol=0, atol=0.02)


def test_brightness_and_contrast_change_as_their_numbers_say() -> None:
    """Around the image's mean, each by a number of its own, and cut off at black and white."""
    image = images(6, 16)
    views = Views(Augment(flip=False, brightness=0.6), 6, 5)
    views.set_epoch(3)
    result = views(torch.arange(6), image, 16).double().numpy()
    draws = np.random.Generator(np.random.Philox(key=[5, 6])).random((6, 12), dtype=np.float32)
    cut_off = 0
    for number in range(6):
        pixels = image[number].numpy().astype(np.float64)
        brightness, contrast = (1 + 0.6 * (2 * draws[number, place] - 1) for place in (5, 6))
        expected = (pixels - pixels.mean()) * contrast + pixels.mean() * brightness
        cut_off += int((expected < 0).sum() + (expected > 255).sum())
        np.testing.assert_allclose(result[number], expected.clip(0, 255), rtol=0, atol=1e-2)
    assert cut_off > 100


@pytest.mark.parametrize("crop", [0.34, 0.5, 0.8, 0.999])
def test_images_are_stored_large_enough_for_every_crop(crop: float) -> None:
    size = 96
    stored = stored_size(size, crop)
    narrowest = (crop * 3 / 4) ** 0.5
    assert stored * narrowest >= size
    assert (stored - 1) * narrowest < size
    assert stored_size(size, 1) == size
    assert stored_size(size, 0.05) == 2 * size


def test_two_sizes_show_the_same_box_mirror_and_square() -> None:
    """Of smooth images, at which a view of half the size is the mean of two by two pixels of the other."""
    ramp = torch.linspace(0, 255, 96)
    image = torch.stack([ramp.expand(96, 96), ramp[:, None].expand(96, 96), ramp.flip(0).expand(96, 96)]).byte()
    stored = image.expand(50, -1, -1, -1)
    views = Views(Augment(crop=0.5, cutout=0.25, brightness=0.2), 50, 0)
    views.set_epoch(0)
    small, large = views(torch.arange(50), stored, 32), views(torch.arange(50), stored, 64)
    halved = torch.nn.functional.avg_pool2d(large, 2)
    # Not at the edges of the random square, nor at those of the image.
    assert ((small - halved).abs() < 4).float().mean() > 0.95


def test_views_take_turns_and_have_their_own_seed() -> None:
    def views(epoch: int, seed: int = 0, count: int | None = 3) -> torch.Tensor:
        return drawn(ALL.model_copy(update={"views": count}), [0, 1, 2], epoch, seed)

    for epoch in range(3):
        assert torch.equal(views(epoch), views(epoch + 3))
        assert torch.equal(views(epoch), views(epoch, count=None))
        assert not torch.equal(views(epoch), views(epoch + 1))
    assert not torch.equal(views(3), views(3, count=None))


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
    in_memory = ImageStore(samples, (8,), "stretch")
    monkeypatch.setattr(store, "memory_bytes", lambda: 4 * stored - 1)
    on_demand = ImageStore(samples, (8,), "stretch")
    assert in_memory.cached is not None
    assert on_demand.cached is None
    for index in range(5):
        (stored,), (decoded,) = in_memory[index][1], on_demand[index][1]
        assert torch.equal(stored, decoded)
        assert decoded.flatten(1).unique(dim=1).flatten().tolist() == [index, 2 * index, 3 * index]
    sizes = [len(index) for index, _ in batches(in_memory, 2, workers=0, order=None)]
    assert sizes == [2, 2, 1]
    sizes = [len(index) for index, _ in batches(in_memory, 2, workers=0, order=EpochOrder(5, 0))]
    assert sizes == [2, 2]


def test_processes_and_a_container_leave_less_memory_for_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(store, "memory_bytes", lambda: 4000)
    for limit, expected in ((None, 1000), (2000, 500), (2**62, 1000)):
        monkeypatch.setattr(store, "memory_limit", lambda *_, limit=limit: limit)
        assert store.store_bytes() == expected
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert store.store_bytes() == 125


#: Workers are forked, which a process that has loaded every runtime here may not survive: it has a process of its own.
ON_DEMAND = """
import sys
from pathlib import Path
import torch
from mlkdc.errors import UsageError
from mlkdc.train.input import store
from mlkdc.train.input.store import EpochOrder, ImageStore, batches
from mlkdc.types import Sample

store.memory_bytes = lambda: 0
samples = [Sample(Path(sys.argv[1], f"{number}.png"), (0,), "train") for number in range(4)]
images = ImageStore(samples, (8,), "stretch")
for name in sys.argv[3:]:
    Path(sys.argv[1], name).unlink()
before = torch.get_rng_state()
try:
    count = len(list(batches(images, 2, int(sys.argv[2]), EpochOrder(4, 0))))
except UsageError as error:
    print(error)
else:
    print(count, torch.equal(torch.get_rng_state(), before))
"""


def read_on_demand(folder: Path, workers: int, *lost: str) -> str:
    """What is said of four images that do not fit in memory: a fault, or batches and whether nothing was drawn.

    Args:
        folder: that has them.
        workers: processes that read them.
        lost: names of those that are removed once they are known.
    """
    done = subprocess.run(
        [sys.executable, "-c", ON_DEMAND, str(folder), str(workers), *lost],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def four_images(tmp_path: Path) -> Path:
    for number in range(4):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def test_workers_draw_nothing_that_dropout_would_have_drawn(four_images: Path) -> None:
    # An uninterrupted training starts them in its first epoch, and a resumed one in another.
    assert read_on_demand(four_images, workers=1) == "2 True"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_one_sentence(workers: int, four_images: Path) -> None:
    assert read_on_demand(four_images, workers, "3.png") == f"{four_images / '3.png'}: no such image file"


def test_several_sizes_come_from_one_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(images(1, 40)[0].permute(1, 2, 0).numpy()).save(path)
    opened = []

    def counted(path: Path) -> Image.Image:
        opened.append(path)
        return open_rgb(path)

    monkeypatch.setattr(store, "open_rgb", counted)
    both = 3 * (8 * 8 + 20 * 20)
    for memory, in_memory in ((4 * both, True), (4 * both - 1, False)):
        monkeypatch.setattr(store, "memory_bytes", lambda memory=memory: memory)
        opened.clear()
        stored = ImageStore([Sample(path, (0,), "train")], (8, 20), "pad")
        assert (stored.cached is not None) == in_memory
        for _ in range(2):
            _, (small, large) = stored[0]
        assert len(opened) == 1 + (not in_memory)
        for size, pixels in ((8, small), (20, large)):
            assert np.array_equal(pixels.permute(1, 2, 0).numpy(), load_square(path, size, "pad"))
