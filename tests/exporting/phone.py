"""A tiny model with what phone nets are made of; exported and opened without a run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import make_manifest
from torch import nn

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.exporting.formats import run_exporter
from mlkdc.exporting.job import INPUT, OUTPUT, Job
from mlkdc.exporting.merging.merge import merge
from mlkdc.exporting.merging.model import ExportModel
from mlkdc.models import AttentionHead, DecoderHead, MultiLabelModel, make_head
from mlkdc.recipe import Head
from mlkdc.records.manifest import InputSpec, Manifest, OutputSpec, Preprocess
from mlkdc.runtime.base import RUNTIMES, Backend
from mlkdc.runtime.session import spec_of
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


def make_trained(kind: str = "decoder") -> MultiLabelModel:
    """``backbone.0`` is its first layer, ``head`` a small one of a recipe's kind."""
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(3, 2, 1)]
    drawn = "decoder" if kind == "compact" else kind
    head = make_head(Head(kind=drawn, dim=16, ffn=32, heads=2, dropout=0.0), 8, CLASSES)
    unequal = Preprocess(size=SIZE, mean=(0.2, 0.5, 0.8), std=(0.3, 0.2, 0.1))
    model = MultiLabelModel(nn.Sequential(*stem, _Residual(8)), head, unequal)
    # As lively as a trained one: images get answers that are far apart, so that a wrong one shows.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.2)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, 0, 2 * module.weight[0].numel() ** -0.5)
    if isinstance(head, DecoderHead):
        nn.init.normal_(head.weight)
    if isinstance(head, AttentionHead):
        nn.init.normal_(head.score.weight, 0, 1.5)
    nn.init.normal_(head.bias)
    if kind == "compact":  # last, so that the rest is drawn as for a decoder
        head.shortcut = nn.Linear(8, CLASSES, bias=False)
        nn.init.normal_(head.shortcut.weight, 0, 0.3)
    return model.eval()


def make_model() -> ExportModel:
    """The same, merged, its head folded."""
    return merge(make_trained(), SIZE)[0]


def photos(count: int = 8) -> np.ndarray:
    """Coarse grain, each image in a different color: ``uint8[count, 3, SIZE, SIZE]``."""
    random = np.random.default_rng(0)
    color = random.integers(0, 200, (count, 3, 1, 1))
    grain = random.integers(0, 56, (count, 3, 8, 8)).repeat(8, axis=2).repeat(8, axis=3)
    return (color + grain).astype(np.uint8)


def make_job(model: nn.Module, target: str, folder: Path, precision: str = "fp32", **changes: Any) -> Job:
    """A job for three classes and images of SIZE; int8 where ``quantization`` is among the changes."""
    if changes.get("quantization"):
        precision = "int8"
    values = {"input_shape": (1, 3, SIZE, SIZE), "classes": CLASSES, **changes}
    return Job(model=model, folder=folder, target=load_target(target), precision=precision, **values)


def manifest_of(job: Job, files: list[str], **changes: Any) -> Manifest:
    """A manifest of what an exporter wrote for the job."""
    _, _, height, width = job.input_shape
    shape = (1, height, width, 3) if job.target.layout == "NHWC" else (1, 3, height, width)
    return make_manifest(
        job.folder,
        files,
        size=height,
        target=job.target.name,
        runtime=job.target.runtime,
        precision=job.precision,
        input=InputSpec(name=INPUT, shape=shape, layout=job.target.layout, dtype=job.input_dtype),
        output=OutputSpec(name=OUTPUT, shape=(1, job.classes)),
        dynamic_batch=job.dynamic,
        **changes,
    )


def changed(manifest: Manifest, **changes: Any) -> Manifest:
    """The manifest with other values; a mapping for ``input`` or ``output`` changes some of its fields."""
    values = {}
    for key, value in changes.items():
        if key in ("input", "output"):
            value = getattr(manifest, key).model_copy(update=value)
        values[key] = value
    return manifest.model_copy(update=values)


def export(job: Job) -> Manifest:
    """Run the exporter; the manifest describes what it wrote, and is not on disk."""
    built = run_exporter(job)
    assert sorted(built.files) == sorted(path.name for path in job.folder.iterdir())
    return manifest_of(job, built.files, details=built.details)


def opened(job: Job, manifest: Manifest, threads: int | None = 1) -> Backend:
    return RUNTIMES.get(job.target.runtime)(job.folder, spec_of(manifest), threads)


def answers(backend: Backend, manifest: Manifest, images: np.ndarray) -> np.ndarray:
    """``float32[n, CLASSES]`` of images ``[n, 3, SIZE, SIZE]``, one by one."""
    if manifest.input.layout == "NHWC":
        images = images.transpose(0, 2, 3, 1)
    rows = []
    for image in np.ascontiguousarray(images, dtype=manifest.input.dtype):
        row = backend.run(image[None])
        assert row.shape == (1, CLASSES)
        assert row.dtype == np.float32
        rows.append(row)
    return np.concatenate(rows)


def expected(model: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(images)).numpy()


def check_answers(job: Job, manifest: Manifest, model: nn.Module, tolerance: float) -> None:
    """The artifact predicts what the model predicts, whatever it predicted before."""
    images = photos()
    backend = opened(job, manifest)
    actual, right = answers(backend, manifest, images), expected(model, images)
    assert np.ptp(right, axis=0).max() > 4 * tolerance
    np.testing.assert_allclose(actual, right, rtol=0, atol=tolerance)
    # again, in another order: nothing of an answer stays behind
    np.testing.assert_array_equal(answers(backend, manifest, images[::-1]), actual[::-1])
    backend.close()


def check_damaged_file_is_refused(
    job: Job, manifest: Manifest, name: str, spoil: Callable[[bytes], bytes], tmp_path: Path, message: str
) -> None:
    (tmp_path / name).write_bytes(spoil((job.folder / name).read_bytes()))
    with pytest.raises(UsageError, match=message):
        opened(replace(job, folder=tmp_path), manifest)


def check_signature_is_refused(job: Job, manifest: Manifest, role: str, change: dict[str, Any], message: str) -> None:
    """Where the manifest says something else of the input or output than the file has."""
    with pytest.raises(UsageError, match=message):
        opened(job, changed(manifest, **{role: change}))


def check_missing_package_is_reported(job: Job, manifest: Manifest, extra: str) -> None:
    with pytest.raises(UsageError, match=rf"pip install 'mlkdc\[{extra}\]'"):
        opened(job, manifest)


def check_opens_in_silence(job: Job, manifest: Manifest, capfd: pytest.CaptureFixture[str]) -> None:
    opened(job, manifest).close()
    assert capfd.readouterr() == ("", "")


def check_failure_is_one_sentence(job: Job, message: str, capfd: pytest.CaptureFixture[str]) -> str:
    """An exporter that gives up writes nothing, and its libraries' ``chatter`` is not seen; the rest of stdout."""
    with pytest.raises(MlkdcError, match=message):
        export(job)
    assert not list(job.folder.iterdir())
    printed = capfd.readouterr()
    assert "chatter" not in printed.out + printed.err
    return printed.out
