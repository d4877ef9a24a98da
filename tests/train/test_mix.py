"""Mixed images: what a slow loop makes of them, drawn anew by epoch, refused where labels must stay whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mlkdc.data.runs import read_data
from mlkdc.errors import Interrupted, UsageError
from mlkdc.losses import make_objective
from mlkdc.models import build_model
from mlkdc.progress import Progress
from mlkdc.recipe import Augment, Recipe
from mlkdc.train import distill
from mlkdc.train.input.mix import Mix
from mlkdc.train.loop import Trainer
from mlkdc.train.sources import Drawn, TeacherSource

Tiny = Callable[..., Recipe]
COUNT, SIZE = 8, 16


def views(seed: int = 0) -> torch.Tensor:
    return 255 * torch.rand(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


TARGETS = (torch.rand(COUNT, 5, generator=torch.Generator().manual_seed(2)) < 0.4).float()


def mixed(augment: Augment, index: list[int], epoch: int = 0, seed: int = 0) -> tuple[Drawn, torch.Tensor]:
    mix = Mix(augment, COUNT, seed)
    mix.set_epoch(epoch)
    return mix(Drawn(torch.tensor(index), {SIZE: views()[index]}, {}), TARGETS[index])


def slow(augment: Augment, index: list[int], epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixel by pixel, with the numbers that are documented to be drawn."""
    generator = np.random.Generator(np.random.Philox(key=[1 << 42, epoch]))
    ones = np.ones(COUNT)
    blended = generator.beta(augment.mixup, augment.mixup, COUNT) if augment.mixup else ones
    pasted = generator.beta(augment.cutmix, augment.cutmix, COUNT) if augment.cutmix else ones
    draws = generator.random((COUNT, 3))
    pixels, labels = views()[index].clone(), TARGETS[index].clone()
    for row, image in enumerate(index):
        other = index[row - 1]
        both = augment.mixup > 0 and augment.cutmix > 0
        if augment.cutmix == 0 or (both and draws[image, 0] >= 0.5):
            own = blended[image]
            pixels[row] = own * views()[image] + (1 - own) * views()[other]
        else:
            side = (1 - pasted[image]) ** 0.5
            replaced = 0
            for y in range(SIZE):
                for x in range(SIZE):
                    far_x = abs((x + 0.5) / SIZE - draws[image, 1])
                    far_y = abs((y + 0.5) / SIZE - draws[image, 2])
                    if far_x < side / 2 and far_y < side / 2:
                        pixels[row, :, y, x] = views()[other, :, y, x]
                        replaced += 1
            own = 1 - replaced / SIZE**2
        labels[row] = own * TARGETS[image] + (1 - own) * TARGETS[other]
    return pixels, labels


KINDS = {"mixup": Augment(mixup=0.8), "cutmix": Augment(cutmix=1.0), "both": Augment(mixup=0.4, cutmix=1.0)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epoch", [0, 1])
def test_equals_the_slow_loop(kind: str, epoch: int) -> None:
    index = [3, 0, 7, 5, 2, 6]
    drawn, labels = mixed(KINDS[kind], index, epoch)
    pixels, expected = slow(KINDS[kind], index, epoch)
    torch.testing.assert_close(drawn.views[SIZE], pixels, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(labels, expected, rtol=1e-5, atol=1e-5)
    assert not torch.equal(labels, TARGETS[index])
    assert drawn.index.tolist() == index


@pytest.mark.parametrize("kind", KINDS)
def test_draws_depend_on_seed_and_epoch_and_second_views_are_mixed_alike(kind: str) -> None:
    index = list(range(COUNT))
    first, labels = mixed(KINDS[kind], index)
    again, same = mixed(KINDS[kind], index)
    assert torch.equal(first.views[SIZE], again.views[SIZE])
    assert torch.equal(labels, same)
    for other, _ in (mixed(KINDS[kind], index, epoch=1), mixed(KINDS[kind], index, seed=1)):
        assert not torch.equal(first.views[SIZE], other.views[SIZE])
    mix = Mix(KINDS[kind], COUNT, 0)
    mix.set_epoch(0)
    swapped, _ = mix(Drawn(torch.tensor(index), {SIZE: views(1)}, {SIZE: views()}), TARGETS)
    assert torch.equal(swapped.second_views[SIZE], first.views[SIZE])


def test_labels_are_mixed_by_the_pixels_of_the_first_size() -> None:
    index = [3, 0, 7, 5, 2, 6]
    mix = Mix(KINDS["cutmix"], COUNT, 0)
    mix.set_epoch(0)
    coarse = torch.nn.functional.avg_pool2d(views()[index], SIZE // 2)
    _, labels = mix(Drawn(torch.tensor(index), {SIZE: views()[index], 2: coarse}, {}), TARGETS[index])
    torch.testing.assert_close(labels, slow(KINDS["cutmix"], index)[1], rtol=1e-5, atol=1e-5)


def test_half_of_the_images_get_either_where_both_are_on() -> None:
    mix = Mix(Augment(mixup=1.0, cutmix=1.0), 1000, 0)
    mix.set_epoch(0)
    blank = torch.zeros(1000, 3, 2, 2)
    _, labels = mix(Drawn(torch.arange(1000), {2: blank}, {}), torch.eye(1000))
    own = labels.diagonal()
    # Of four pixels CutMix replaces whole ones, mixup any part of them.
    assert 430 < (own * 4 == (own * 4).round()).sum() < 570


def trainer(recipe: Recipe, folder: Path) -> Trainer:
    data, objective = read_data(recipe), make_objective(recipe.distill)
    torch.manual_seed(0)
    assert recipe.teacher
    teacher = TeacherSource(build_model(recipe.teacher, len(data.classes), 48), 48)
    student = build_model(recipe.student, len(data.classes), 32)
    return Trainer(folder, recipe, student, data, objective, teacher, Progress())


def mixing(tiny: Tiny, method: str, **changes: Any) -> Recipe:
    recipe = tiny(distill={"method": method, **changes})
    recipe.data.augment.mixup, recipe.data.augment.cutmix = 0.4, 1.0
    return recipe


@pytest.mark.slow
def test_student_and_teacher_see_the_same_mixed_pixels_and_labels_go_with_them(tiny: Tiny, tmp_path: Path) -> None:
    recipe = mixing(tiny, "mld")
    recipe.data.augment.seed = 7
    ready = trainer(recipe, tmp_path)
    ready._start(0)
    index, images = next(iter(ready.loader))
    step = ready._look(index, images)
    views_alone = ready.draws(index, images).views
    assert set(views_alone) == {32, 48}
    labels = ready.targets[index]
    mix = Mix(recipe.data.augment, len(ready.images), 7)
    mix.set_epoch(0)
    expected, soft = mix(Drawn(index, views_alone, {}), labels)
    assert torch.equal(step.pixels, expected.views[32])
    assert torch.equal(step.targets, soft)
    for size in (32, 48):
        assert torch.equal(step.views[size], expected.views[size])
        assert not torch.equal(step.views[size], views_alone[size])
    batch = ready._batch(step)
    assert batch.teacher
    source = ready.sources["teacher"]
    assert isinstance(source, TeacherSource)
    torch.testing.assert_close(batch.teacher.logits, source.model(expected.views[48]), rtol=1e-3, atol=1e-3)
    assert torch.equal(batch.targets, soft)


@pytest.mark.slow
def test_training_on_mixed_images_resumes_where_it_was_and_keeps_no_cache(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = mixing(tiny, "mld")
    complete = distill(recipe, out=tmp_path / "complete")
    assert not list((tmp_path / "cache").glob("teachers/*"))
    after = Trainer._end_of_epoch

    def stop(self: Trainer, *rest: Any) -> None:
        after(self, *rest)
        if self.recipe.name == "tiny":
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_end_of_epoch", stop)
    with pytest.raises(Interrupted):
        distill(recipe, out=tmp_path / "parts")
    monkeypatch.setattr(Trainer, "_end_of_epoch", after)
    resumed = distill(None, resume=tmp_path / "parts")
    one, other = (load_file(run.path / "model.safetensors") for run in (complete, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "named"),
    [("l2d", "cd, id"), ("mskd", "rsd, ssd"), ("ps-kd", "pskd"), ("dlb", "dlb"), ("uskd", "uskd"), ("ps", "ps")],
)
def test_methods_that_need_whole_labels_are_refused_before_anything_is_written(
    method: str, named: str, tiny: Tiny, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"labels between 0 and 1, which {named} cannot take; set both to 0"):
        distill(mixing(tiny, method), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="which zlpr cannot take"):
        distill(mixing(tiny, "mld", base="zlpr"), out=tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mdkd", "ddgsd", "rkd", "tf-kd", "reviewkd", "ud"])
def test_other_methods_train_on_mixed_images(method: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = mixing(tiny, method)
    recipe.train.epochs = 1
    distill(recipe, out=tmp_path / "run")
