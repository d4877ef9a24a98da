"""A patient teacher: each view of each image is answered once, for all runs that see it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mlkdc.errors import MlkdcError
from mlkdc.losses import Outputs
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.train import distill, teacher_cache
from mlkdc.train.input.resample import stored_size
from mlkdc.train.loop import Trainer
from mlkdc.train.sources import TeacherSource
from mlkdc.train.teacher import teacher_recipe
from mlkdc.train.teacher_cache import TeacherCache, halved

pytestmark = pytest.mark.slow

Tiny = Callable[..., Recipe]
IMAGES, CLASSES, WIDTH = 11, 4, 3


def answers(targets: torch.Tensor, index: torch.Tensor, view: int) -> Outputs:
    """Answers from which image, label and view can be read."""
    logits = 100 * view + index[:, None] + torch.arange(CLASSES) / 10
    rows = []
    for image in index.tolist():
        for label in range(CLASSES):
            if targets[image, label]:
                rows.append([image, label, view])
    return Outputs(logits.float(), torch.tensor(rows).float().reshape(-1, WIDTH))


def some_targets() -> torch.Tensor:
    random = np.random.default_rng(0)
    targets = torch.from_numpy((random.random((IMAGES, CLASSES)) < 0.4).astype(np.float32))
    targets[3] = 0  # without any label
    return targets


def cache(folder: Path, views: int | None = 2, epochs: int = 4, **shapes: tuple[int, ...]) -> TeacherCache:
    shapes = shapes or {"logits": (CLASSES,), "embeddings": (WIDTH,)}
    return TeacherCache(folder, some_targets(), shapes, views, epochs)


def fill(kept: TeacherCache, view: int, batches: list[list[int]]) -> None:
    for batch in batches:
        index = torch.tensor(batch)
        kept.put(index, halved(answers(some_targets(), index, view)))


def test_answers_are_found_by_image_however_they_were_batched(tmp_path: Path) -> None:
    first = cache(tmp_path)
    for epoch in range(2):
        first.start(epoch)
        assert first.collecting
        fill(first, epoch, [[7, 1, 3], [0, 10], [2, 4, 5, 9]])
        assert first.missing() == [6, 8]
        fill(first, epoch, [[8, 6]])
        first.finish()
        assert first.complete == (epoch == 1)
    second = cache(tmp_path, epochs=7)
    for epoch in range(7):
        second.start(epoch)
        assert not second.collecting
        for batch in ([3, 10, 0], [5], [9, 8, 7, 6, 6]):
            index = torch.tensor(batch)
            given, expected = second.get(index), answers(some_targets(), index, epoch % 2)
            assert torch.equal(given.logits, expected.logits)
            assert given.embeddings is not None
            assert torch.equal(given.embeddings, expected.embeddings)


def test_a_view_is_kept_completely_or_not_at_all(tmp_path: Path) -> None:
    stopped = cache(tmp_path)
    stopped.start(0)
    fill(stopped, 0, [[1, 2]])
    assert not list(tmp_path.iterdir())
    damaged = cache(tmp_path)
    damaged.start(0)
    fill(damaged, 0, [list(range(IMAGES))])
    damaged.finish()
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    damaged.start(0)
    assert damaged.collecting


def test_two_runs_at_once_lose_nothing(tmp_path: Path) -> None:
    """One keeps logits, the other embeddings too; a third needs other embeddings."""
    one, other = cache(tmp_path, logits=(CLASSES,)), cache(tmp_path)
    one.start(0)
    other.start(0)
    fill(one, 0, [list(range(6))])
    fill(other, 0, [list(range(IMAGES))])
    other.finish()
    fill(one, 0, [list(range(6, IMAGES))])
    one.finish()
    assert cache(tmp_path, epochs=1).complete
    assert not cache(tmp_path, epochs=1, logits=(CLASSES,), embeddings=(WIDTH + 1,)).complete
    assert not cache(tmp_path, epochs=1, logits=(CLASSES,), pooled=(WIDTH,)).complete


def test_its_size_is_said_and_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = cache(tmp_path, views=None, epochs=3)
    fill(kept, 0, [list(range(IMAGES))])
    kept.finish()
    on_disk = sum(tensor.nbytes for path in tmp_path.iterdir() for tensor in load_file(path).values())
    assert kept.size_bytes == 3 * on_disk
    assert f"3 views x 11 images, 0.0 MB, cached in {tmp_path}; 1 of 3 views is there already" in kept.describe()
    monkeypatch.setattr(teacher_cache, "LARGEST_BYTES", kept.size_bytes)
    assert cache(tmp_path, views=None, epochs=3).on
    monkeypatch.setattr(teacher_cache, "LARGEST_BYTES", kept.size_bytes - 1)
    large = cache(tmp_path, views=None, epochs=3)
    large.start(0)
    assert large.collecting
    assert large.missing() == []
    assert "not cached" in large.describe()


class Heard(Progress):
    """Remembers what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def about(self, text: str) -> str:
        (line,) = (line for line in self.lines if text in line)
        return line


class Watched:
    """What the teacher was asked in trainings, and what their stores held."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.sizes: tuple[int, ...] = ()

    def clear(self) -> None:
        self.batches, self.sizes = [], ()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    seen = Watched()
    train = Trainer.train

    def watch(self: Trainer, resume: bool) -> float:
        source = self.sources.get("teacher")
        if isinstance(source, TeacherSource):
            seen.sizes = self.images.sizes
            source.model.backbone.register_forward_pre_hook(lambda _, given: seen.batches.append(len(given[0])))
        return train(self, resume)

    monkeypatch.setattr(Trainer, "train", watch)
    return seen


def patient(tiny: Tiny, **changes: Any) -> Recipe:
    """Two views that take turns in four epochs."""
    recipe = tiny(train={"epochs": 4, "batch_size": 8, "optimizer": "adamw", "lr": 0.003}, **changes)
    recipe.data.augment.views, recipe.data.augment.seed = 2, 7
    return recipe


def test_every_view_of_every_image_is_answered_once_for_all_runs(tiny: Tiny, tmp_path: Path, watched: Watched) -> None:
    distill(patient(tiny), out=tmp_path / "first", progress=(heard := Heard()))
    assert "2 views x 30 images" in heard.about("the teacher's answers")
    assert "0 of 2 views are there" in heard.about("the teacher's answers")
    # Three full batches and the six images of the last one, which is dropped.
    assert watched.batches == 2 * [8, 8, 8, 6]
    assert watched.sizes == (stored_size(32, 0.7), stored_size(48, 0.7))
    folders = list((tmp_path / "cache" / "teachers").iterdir())
    another = patient(tiny, seed=3)
    another.train.batch_size, another.train.epochs = 5, 3
    another.data.image_size, another.student.width = 48, 0.35
    fewer_fields = patient(tiny, distill={"method": "mld"})
    for number, recipe in enumerate((another, fewer_fields)):
        watched.clear()
        distill(recipe, out=tmp_path / str(number), progress=(heard := Heard()))
        assert "2 of 2 views are there" in heard.about("the teacher's answers")
        assert watched.batches == []
        assert len(watched.sizes) == 1  # images are not even decoded at the teacher's size
    longer = patient(tiny)
    longer.data.augment.views = 3
    watched.clear()
    distill(longer, out=tmp_path / "longer", progress=(heard := Heard()))
    assert "2 of 3 views are there" in heard.about("the teacher's answers")
    assert watched.batches == [8, 8, 8, 6]
    assert list((tmp_path / "cache" / "teachers").iterdir()) == folders


def test_what_changes_the_teachers_pixels_or_answers_is_another_cache(tiny: Tiny, tmp_path: Path) -> None:
    (trained,) = [distill(patient(tiny), out=tmp_path / "first").results.teacher]
    assert trained
    teacher = patient(tiny).teacher
    assert teacher
    changes: dict[str, Callable[[Recipe], None]] = {
        "nothing": lambda recipe: None,
        "the run's seed": lambda recipe: setattr(recipe, "seed", 5),
        "student": lambda recipe: setattr(recipe.data, "image_size", 64),
        "views": lambda recipe: setattr(recipe.data.augment, "seed", 8),
        "brightness": lambda recipe: setattr(recipe.data.augment, "brightness", 0.3),
        "fit": lambda recipe: setattr(recipe.data, "fit", "pad"),
        "precision": lambda recipe: setattr(recipe.train, "precision", "bf16"),
        "images": lambda recipe: setattr(recipe.data, "train_splits", ["train", "val"]),
    }
    folders = []
    for number, (name, change) in enumerate(changes.items()):
        # Of the same trained teacher, which each change but the first three would train anew.
        recipe = patient(tiny, teacher={**teacher.model_dump(), "source": trained.run})
        change(recipe)
        recipe.train.stop_after = 1
        distill(recipe, out=tmp_path / str(number), progress=(heard := Heard()))
        folder = heard.about("the teacher's answers").split("cached in ")[1].split(";")[0]
        assert (folder in folders) == (name in ("the run's seed", "student")), name
        folders.append(folder)


def test_the_teachers_own_training_sees_new_views(tiny: Tiny) -> None:
    recipe = patient(tiny)
    assert recipe.teacher
    own = teacher_recipe(recipe, recipe.teacher)
    assert (own.data.augment.views, own.data.augment.seed) == (None, None)
    assert own.data.augment.crop == recipe.data.augment.crop
    assert own == teacher_recipe(tiny(), recipe.teacher)


def test_a_run_does_not_depend_on_its_cache(tiny: Tiny, tmp_path: Path) -> None:
    kept, without = patient(tiny), patient(tiny)
    assert without.teacher
    without.teacher.cache = False
    weights = []
    for name, recipe in (("a", without), ("b", kept), ("c", kept)):
        weights.append(load_file(distill(recipe, out=tmp_path / name).weights))
    without_cache, filled, read = weights
    for key, tensor in without_cache.items():
        # Batches of other images round differently.
        torch.testing.assert_close(filled[key], tensor, rtol=0.02, atol=2e-3)
        torch.testing.assert_close(read[key], tensor, rtol=0.02, atol=2e-3)


def test_a_cache_that_is_removed_under_a_run_is_reported(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = patient(tiny)
    distill(recipe, out=tmp_path / "first")
    start = Trainer._start

    def remove(self: Trainer, epoch: int) -> None:
        if epoch == 1:
            for path in (tmp_path / "cache" / "teachers").rglob("view-0001-*"):
                path.unlink()
        start(self, epoch)

    monkeypatch.setattr(Trainer, "_start", remove)
    with pytest.raises(MlkdcError, match=r"answers were removed from .*resume it"):
        distill(recipe, out=tmp_path / "second")
    monkeypatch.setattr(Trainer, "_start", start)
    assert distill(None, resume=tmp_path / "second").finished


def test_mixed_images_and_feature_maps_are_not_cached(tiny: Tiny, tmp_path: Path) -> None:
    mixed = patient(tiny, distill={"method": "mld"})
    mixed.data.augment.mixup = 0.2
    maps = patient(tiny, distill={"method": "reviewkd"})
    # Repeats the images of the step before.
    again = patient(tiny, distill={"method": "dlb", "terms": {"mld": 10}})
    reasons = {"images are mixed": mixed, "reviewkd compares feature maps": maps, "images come twice": again}
    for said, recipe in reasons.items():
        recipe.train.stop_after = 1
        distill(recipe, out=tmp_path / said, progress=(heard := Heard()))
        assert said in heard.about("are not cached")
    assert not list((tmp_path / "cache").rglob("view-*"))


def first_views(recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, torch.Tensor]:
    """The views of the first step by size; what the student is shown, by 0."""
    seen: dict[int, torch.Tensor] = {}
    batch = Trainer._batch

    def note(self: Trainer, step: Any) -> Any:
        if recipe.name == self.recipe.name and not seen:
            seen.update({0: step.pixels, **step.views})
        return batch(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_batch", note)
        distill(recipe, out=folder)
    return seen


def test_a_student_sees_the_same_pixels_with_and_without_a_teacher(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = first_views(tiny(), tmp_path / "taught", monkeypatch)
    alone = first_views(tiny(distill={"method": "vanilla"}, teacher=None), tmp_path / "alone", monkeypatch)
    assert set(alone) == {0, 32}
    assert set(taught) == {0, 32, 48}
    assert torch.equal(taught[0], alone[0])
