"""What is computed for the terms: exactly what they need, and what it says it is."""

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import DropPath
from torch import nn
from torchvision.transforms.v2.functional import resized_crop

from mlkdc.data.runs import read_data
from mlkdc.errors import Interrupted, UsageError
from mlkdc.losses import TERMS, Batch, Objective, Outputs, Term, make_objective
from mlkdc.losses.batch import SOURCE_FIELDS
from mlkdc.methods import method_names
from mlkdc.models import build_model
from mlkdc.progress import Progress
from mlkdc.recipe import Distill, Model, Recipe
from mlkdc.train import distill, load_model
from mlkdc.train.input.patches import Patches, cut
from mlkdc.train.learner import Learner, batch_statistics_only, outputs_of
from mlkdc.train.loop import Trainer
from mlkdc.train.sources import SOURCES, Source, SourceContext, Step, TeacherSource
from mlkdc.train.sources.previous import Previous

pytestmark = pytest.mark.slow

Tiny = Callable[..., Recipe]


def ready(recipe: Recipe, folder: Path) -> Trainer:
    """Ready to step, its teacher untrained."""
    data, objective = read_data(recipe), make_objective(recipe.distill)
    torch.manual_seed(0)
    student = build_model(recipe.student, len(data.classes), recipe.data.image_size)
    teacher = None
    if objective.needs_teacher:
        assert recipe.teacher
        teacher = TeacherSource(build_model(recipe.teacher, len(data.classes), 48), 48)
    folder.mkdir()
    return Trainer(folder, recipe, student, data, objective, teacher, Progress())


def one_step(trainer: Trainer) -> Batch:
    """The batch that the objective was given in the first step of the first epoch."""
    seen: list[Batch] = []
    plain = trainer.objective

    class Spy(Objective):
        def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
            seen.append(batch)
            return super().__call__(batch)

    trainer.objective = Spy(plain.terms, plain.weights, plain.ramp)
    trainer._start(0)
    trainer._step(0, 0, *next(iter(trainer.loader)))
    return seen[0]


@pytest.mark.parametrize("name", method_names())
def test_no_pass_and_no_tensor_that_no_term_needs(name: str, tiny: Tiny, tmp_path: Path) -> None:
    trainer = ready(tiny(distill={"method": name}), tmp_path / "run")
    passes: Counter[str] = Counter()

    def count(what: str) -> Callable[..., None]:
        return lambda *_: passes.update([what])

    trainer.model.backbone.body.conv_stem.register_forward_hook(count("student"))
    trainer.model.head.register_forward_hook(count("head"))
    for inner in trainer.sources.values():
        if isinstance(inner, TeacherSource):
            inner.model.backbone.body.conv1.register_forward_hook(count("teacher"))
            inner.model.head.register_forward_hook(count("teacher head"))
        elif isinstance(inner, Previous):
            inner.copy.head.register_forward_hook(count("previous"))
    batch = one_step(trainer)
    needs = trainer.objective.needs
    computed = {f"{source}.{field}" for source, outputs in batch.outputs().items() for field in outputs.present()}
    assert computed == needs | {"student.logits"}
    extra = "patches.logits" in needs
    assert passes["student"] == 1 + extra
    assert passes["head"] == 1 + extra + ("student.regions" in needs) + 4 * ("samples.logits" in needs)
    assert passes["teacher"] == trainer.objective.needs_teacher
    assert passes["teacher head"] == bool({"teacher.logits", "teacher.embeddings"} & needs)
    assert passes["previous"] == ("previous.logits" in needs)


@pytest.mark.parametrize("name", ["mskd", "ps-kd", "dlb", "ddgsd", "reviewkd"])
def test_a_stopped_run_ends_where_an_uninterrupted_one_ends(
    name: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(distill={"method": name})
    complete = distill(recipe, out=tmp_path / "complete")
    after = Trainer._end_of_epoch

    def stop(self: Trainer, epoch: int, *rest: Any) -> None:
        after(self, epoch, *rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_end_of_epoch", stop)
    with pytest.raises(Interrupted):
        distill(recipe, out=tmp_path / "parts")
    monkeypatch.setattr(Trainer, "_end_of_epoch", after)
    resumed = distill(None, resume=tmp_path / "parts")
    expected, actual = load_model(complete).state_dict(), load_model(resumed).state_dict()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)


def test_patches_have_the_papers_sizes_and_depend_on_image_and_epoch_alone() -> None:
    patches = Patches("random", 500, seed=3)
    patches.set_epoch(1)
    boxes = patches.boxes(torch.arange(500))
    assert boxes.shape == (500, 4, 4)
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    area, ratio = width * height, width / height
    for value, low, high in ((area, 0.2, 0.3), (ratio, 0.4, 5 / 3)):
        assert low - 1e-4 <= value.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < value.max() <= high + 1e-4
    assert torch.equal(patches.boxes(torch.tensor([7, 3])), boxes[[7, 3]])
    patches.set_epoch(2)
    assert not torch.equal(patches.boxes(torch.arange(500)), boxes)
    other = Patches("random", 500, seed=4)
    other.set_epoch(1)
    assert not torch.equal(other.boxes(torch.arange(500)), boxes)
    quarters = Patches("corners", 2, seed=0)
    quarters.set_epoch(0)
    halves = quarters.boxes(torch.tensor([1]))[0]
    assert {tuple(row) for row in halves.tolist()} == {(x, y, x + 0.5, y + 0.5) for x in (0.0, 0.5) for y in (0.0, 0.5)}


def test_regions_are_the_boxes_of_each_image_at_half_the_maps_side_rounded_up(tiny: Tiny) -> None:
    model = build_model(tiny().student, 3, 96).eval()
    images, targets = 255 * torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)), torch.ones(2, 3)
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 1.0, 0.5]], [[0.2, 0.3, 0.7, 0.9], [0.0, 0.5, 0.5, 1.0]]])
    seen = []
    model.head.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape[2:])))
    with torch.no_grad():
        outputs, features = outputs_of(model, images, targets, frozenset({"logits", "regions"}), boxes)
        assert features.shape[2:] == (3, 3)
        assert seen == [(3, 3), (2, 2)]
        assert outputs.regions is not None
        for image in range(2):
            for region in range(2):
                part = cut(features[image : image + 1], boxes[image : image + 1, region : region + 1], 2, 2)
                torch.testing.assert_close(outputs.regions[image, region], model.head(part).logits[0])


def test_a_cut_is_the_crop_that_torchvision_makes() -> None:
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    box = torch.tensor([0.25, 0.1, 0.75, 0.6])
    parts = cut(images, box.expand(2, 1, 4), 24, 24)
    expected = resized_crop(images, top=4, left=10, height=20, width=20, size=[24, 24], antialias=False)
    # torchvision repeats the crop's border, a region of interest sees what lies beyond it.
    torch.testing.assert_close(parts[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], rtol=0, atol=1e-5)


def test_extra_passes_leave_no_trace_in_the_model(tiny: Tiny) -> None:
    model = build_model(tiny().student, 3, 32).train()
    before = copy.deepcopy({name: value for name, value in model.state_dict().items() if "running" in name})
    with batch_statistics_only(model):
        first, second = (model(torch.full((4, 3, 32, 32), 100.0)) for _ in range(2))
    assert torch.equal(first, second)
    after = model.state_dict()
    assert before
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(module.momentum == 0.1 for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    assert any(module.training for module in model.modules() if isinstance(module, nn.Dropout))


def test_the_layers_of_a_term_are_trained_and_discarded(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Layered(Term):
        """Pooled features through a layer."""

        needs = frozenset({"student.pooled"})

        def build(self, example: Batch) -> None:
            assert example.student.pooled is not None
            self.layers = nn.Linear(example.student.pooled.shape[1], 2)

        def compute(self, batch: Batch) -> torch.Tensor:
            assert self.layers is not None
            value: torch.Tensor = self.layers(batch.student.pooled).square().mean()
            return value

    monkeypatch.setitem(TERMS._items, "layered", Layered)
    recipe = tiny(distill={"method": "vanilla", "terms": {"layered": 1}})
    trainer = ready(recipe, tmp_path / "run")
    learner = trainer.accelerator.unwrap_model(trainer.learner)
    assert isinstance(learner, Learner)
    before = [parameter.detach().clone() for parameter in learner.layers.parameters()]
    one_step(trainer)
    assert any(not torch.equal(old, new) for old, new in zip(before, learner.layers.parameters(), strict=True))
    assert not any("layered" in name for name in trainer.model.state_dict())


@pytest.mark.parametrize("first", method_names())
def test_methods_add_up_in_one_recipe(first: str, tiny: Tiny, tmp_path: Path) -> None:
    terms = {
        "cd": 1,
        "id": 1,
        "bd2": 1,
        "rsd": 1,
        "ssd": 1,
        "lsd": 1,
        "pskd": 1,
        "dlb": 1,
        "twin_kl": 1,
        "ud": 1,
        "pkt": 1,
    }
    trainer = ready(tiny(distill={"method": first, "terms": terms}), tmp_path / "run")
    assert trainer.draws.second_views
    assert trainer.draws.patches
    trainer._start(0)
    loader = iter(trainer.loader)
    for number in range(2):
        values = trainer._step(0, number, *next(loader))
    assert set(terms) <= set(values)


def test_every_source_that_has_a_field_of_a_batch_is_registered() -> None:
    assert set(SOURCES.names()) == set(SOURCE_FIELDS) - {"student"}


class Demanding(Source):
    """Looks at larger views, crops and second views, and repeats nothing."""

    image_size = 64
    boxes = second_views = True

    @classmethod
    def make(cls, context: SourceContext) -> "Demanding":
        assert context.fields == {"pooled"}
        assert (context.images, context.classes) == (30, 3)
        return cls()

    @classmethod
    def check(cls, recipe: Recipe) -> None:
        if recipe.seed:
            raise UsageError("set seed=0")

    def outputs(self, step: Step) -> Outputs:
        assert step.views[64].shape[1:] == (3, 64, 64)
        assert step.pixels.shape[1:] == (3, 32, 32)
        assert step.twins is not None
        assert step.twins.shape == step.pixels.shape
        assert step.boxes is not None
        return Outputs(pooled=step.boxes.mean((1, 2)))


class Compares(Term):
    """With the source above."""

    needs = frozenset({"demanding.pooled"})

    def compute(self, batch: Batch) -> torch.Tensor:
        pooled = batch.others["demanding"].pooled
        assert pooled is not None
        return (pooled * batch.student.logits.mean(1)).sum()


def test_a_source_gets_what_its_class_declares(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES._items, "demanding", Demanding)
    monkeypatch.setitem(TERMS._items, "compares", Compares)
    recipe = tiny(distill={"method": "vanilla", "terms": {"compares": 1}}, teacher=None)
    batch = one_step(ready(recipe, tmp_path / "run"))
    assert batch.outputs()["demanding"].present().keys() == {"pooled"}
    assert "twin" not in batch.outputs()  # second views are drawn for it, the student does not look at them
    recipe.seed = 1
    with pytest.raises(UsageError, match="set seed=0"):
        distill(recipe, out=tmp_path / "other")


def test_a_source_that_nobody_brings_is_named(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TERMS._items, "compares", Compares)
    with pytest.raises(UsageError, match="unknown source 'demanding'"):
        distill(tiny(distill={"method": "vanilla", "terms": {"compares": 1}}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_extra_passes_switch_off_everything_random() -> None:
    model = build_model(Model(model="swin_t", weights="none"), 3, 64).train()
    assert any(isinstance(module, DropPath) and module.drop_prob for module in model.modules())
    image = torch.rand(2, 3, 64, 64) * 255
    with batch_statistics_only(model), torch.no_grad():
        torch.testing.assert_close(model(image), model(image), rtol=0, atol=0)


def test_dropout_samples_need_dropout(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(distill=Distill(method="ud").model_dump())
    recipe.student.head.dropout = 0.0
    with pytest.raises(UsageError, match=r"student\.head\.dropout"):
        distill(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
