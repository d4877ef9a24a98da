"""Of several int8 attempts the files that were compared and chosen are those in the artifact."""

from dataclasses import replace

import pytest
from torch import nn

from mlkdc import export
from mlkdc.exporting.builder import Builder
from mlkdc.exporting.int8 import quantizer
from mlkdc.exporting.int8.guard import Climbed
from mlkdc.records.manifest import Manifest


@pytest.fixture
def made(monkeypatch):
    """The model's bytes of each attempt, of which two are made with different settings, in the order they are made."""
    attempts = []
    build = Builder.build

    def remembering(builder, how):
        folder, manifest = build(builder, how)
        attempts.append((folder / "model.onnx").read_bytes())
        return folder, manifest

    monkeypatch.setattr(Builder, "build", remembering)
    return attempts


@pytest.mark.parametrize("chosen", [0, 1])
def test_the_chosen_attempt_is_not_made_again(make_run, wrap, made, chosen, monkeypatch, tmp_path):
    def both(ladder):
        settings = [ladder.first, replace(ladder.first, per_channel=False)]
        for how in settings:
            ladder.build(how)
        return Climbed(settings[chosen], "chosen", (), ())

    monkeypatch.setattr(quantizer, "climb", both)
    run, limits = make_run(wrap(nn.Conv2d(3, 8, 3), channels=8)), {"max_drop": 100, "max_class_drop": 100}
    folder = export(run, "onnx", precision="int8", out=tmp_path / "out", **limits)
    assert len(made) == 2
    assert made[0] != made[1]
    assert (folder / "model.onnx").read_bytes() == made[chosen]
    assert Manifest.load(folder).quantization.chosen == "chosen"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
