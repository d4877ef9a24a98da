"""Small models with lively BatchNorms, and a finished run that needs no training."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mlkdc.exporting import identity, known
from mlkdc.models import LinearHead, MultiLabelModel, build_model
from mlkdc.recipe import Head, Model, Recipe
from mlkdc.records.manifest import Preprocess
from mlkdc.records.results import Scores
from mlkdc.train.score import score
from mlkdc.types import Sample, TaggedImages

SIZE = 64
CLASSES = ("cat", "dog", "bird")
# Far from equal and far from zero, so that a wrongly padded border shows.
UNEQUAL = Preprocess(size=SIZE, mean=(0.2, 0.5, 0.8), std=(0.3, 0.2, 0.1))


def liven(model: nn.Module) -> nn.Module:
    """Random statistics and affine parameters in every BatchNorm: with fresh ones, folding does nothing."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.2)
    return model.eval()


@torch.no_grad()
def as_if_trained(model: MultiLabelModel) -> MultiLabelModel:
    """Statistics of real activations, and a head that tells images apart: else all answers are the same to 1e-5."""
    liven(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches, here one
    torch.manual_seed(2)
    model.train()(torch.rand(16, 3, 8, 8).repeat_interleave(SIZE // 8, 2).repeat_interleave(SIZE // 8, 3) * 255)
    for module in model.head.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, module.weight[0].numel() ** -0.5)
    nn.init.normal_(model.head.get_parameter("weight"))
    return model.eval()


@pytest.fixture(scope="session")
def student() -> Callable[[str], MultiLabelModel]:
    """A shipped student by short name, with a small decoder head."""

    def make(name: str) -> MultiLabelModel:
        torch.manual_seed(0)
        spec = Model(model=name, weights="none", head=Head(kind="compact", dim=16, ffn=32, heads=2))
        return as_if_trained(build_model(spec, len(CLASSES), SIZE))

    return make


@pytest.fixture(scope="session")
def wrap() -> Callable[..., MultiLabelModel]:
    """A model of the given backbone layers and a linear head, with unequal channel means."""

    def make(*layers: nn.Module, channels: int) -> MultiLabelModel:
        torch.manual_seed(0)
        for layer in layers:
            for module in layer.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
        head = LinearHead(channels, len(CLASSES), 0.0)
        head.fc.reset_parameters()  # as torch does it: not near zero, so that answers differ
        return liven(MultiLabelModel(nn.Sequential(*layers), head, UNEQUAL))

    return make


@pytest.fixture
def framed_noise() -> torch.Tensor:
    """Noise in 0..255 inside saturated frames: ``float32[4, 3, SIZE, SIZE]`` of whole numbers."""
    pixels = torch.randint(0, 256, (4, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(5)).float()
    pixels[1, :, :3] = 255
    pixels[2, :, :, -3:] = 0
    pixels[3] = 255
    return pixels


@dataclass
class StubRun:
    """What export uses of a run, and the model and data that would be loaded for it."""

    path: Path
    model: MultiLabelModel
    data: TaggedImages
    recipe: Recipe = field(default_factory=lambda: Recipe(name="stub"))
    thresholds: tuple[float, ...] = (0.5,) * len(CLASSES)
    weights_sha256: str | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.data.classes

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @cached_property
    def scores(self) -> Scores:
        return score(self.model, self.data, ("train",))

    @cached_property
    def map_percent(self) -> float:
        return self.scores.map_percent

    @property
    def results(self) -> SimpleNamespace:
        return SimpleNamespace(
            thresholds=self.thresholds,
            recipe_hash=self.recipe.hash(),
            weights_sha256=self.weights_sha256,
            scored_on="val",
            map_percent=self.map_percent,
            per_class=self.scores.per_class,
        )


@pytest.fixture(scope="session", autouse=True)
def load_stubs() -> Iterator[None]:
    """Loading a run gives what its stub holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "load_model", _stub_or("model", identity.load_model))
        patch.setattr(known, "run_data", _stub_or("data", known.run_data))
        yield


def _stub_or(name: str, load: Callable[..., Any]) -> Callable[..., Any]:
    """What a stub holds under a name; a real run, of a test that comes after these, is loaded."""
    return lambda run, *rest: getattr(run, name) if isinstance(run, StubRun) else load(run, *rest)


@pytest.fixture(scope="module")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[MultiLabelModel], StubRun]:
    """A finished run of a model, with six images of odd sizes in train and in val."""

    def make(model: MultiLabelModel) -> StubRun:
        folder = tmp_path_factory.mktemp("run")
        random = np.random.default_rng(0)
        samples = []
        for index in range(12):
            path = folder / f"{index}.png"
            Image.fromarray(random.integers(0, 256, (50 + index, 90, 3), dtype=np.uint8)).save(path)
            labels = tuple(k for k in range(3) if index % (k + 2) == 0)
            samples.append(Sample(path, labels, "val" if index % 2 else "train"))
        (folder / "model.safetensors").write_bytes(b"weights")
        return StubRun(folder, model, TaggedImages("stub", folder, "csv", CLASSES, tuple(samples)))

    return make
