"""Thresholds are tuned on validation images, and what is scored are others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkdc.train import score as module
from mlkdc.types import Sample, TaggedImages


def test_thresholds_are_tuned_on_validation_images_and_others_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ten images in each split, of which the last five have the label; in val the model is less sure of it.
    samples = [Sample(Path("a.png"), (0,) * (at >= 5), split) for split in ("val", "test") for at in range(10)]
    data = TaggedImages("photos", Path(), "csv", ("cat",), tuple(samples))
    sure = {"val": 0.4, "test": 0.8}
    monkeypatch.setattr(module, "images_for", lambda preprocess, chosen: chosen)

    def predict(model: Any, chosen: tuple[Sample, ...]) -> np.ndarray:
        return np.array([[sure[sample.split] if sample.labels else 0.1] for sample in chosen], dtype=np.float32)

    monkeypatch.setattr(module, "predict", predict)
    model: Any = type("Model", (), {"preprocess": None})
    scores = module.score(model, data, ("train",))
    assert (scores.scored_on, scores.thresholds_from) == ("test", "val")
    assert 0.1 < scores.thresholds[0] <= 0.4
    assert scores.map_percent == 100
