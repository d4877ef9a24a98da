"""`summarize` puts the metrics of `evaluate` into the record that results.json holds."""

from pathlib import Path

import numpy as np
import pytest

from mlkdc.errors import UsageError
from mlkdc.metrics import evaluate, summarize
from mlkdc.types import Sample, TaggedImages

LABELS = {"val": [(0,), (1,)], "test": [(0, 1), (1,), (), (1,)]}


@pytest.fixture
def data() -> TaggedImages:
    samples = []
    for split, rows in LABELS.items():
        for number, labels in enumerate(rows):
            samples.append(Sample(Path(f"{split}{number}.png"), labels, split))
    return TaggedImages("beach", Path("beach"), "csv", ("sea", "sky", "never"), tuple(samples))


def test_scores_of_a_split(data: TaggedImages) -> None:
    probabilities = np.array([[0.9, 0.7, 0.1], [0.2, 0.8, 0.1], [0.3, 0.4, 0.2], [0.1, 0.3, 0.2]], dtype=np.float32)
    thresholds = np.array([0.5, 0.25, 0.5])
    scores = summarize(data, "test", probabilities, thresholds, "val")
    targets = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 1, 0]])
    evaluation = evaluate(targets, probabilities, thresholds)
    assert (scores.scored_on, scores.thresholds_from, scores.thresholds) == ("test", "val", (0.5, 0.25, 0.5))
    assert scores.metrics == evaluation.summary
    assert scores.map_percent == pytest.approx(100 * (1 + (1 + 1 + 3 / 4) / 3) / 2)
    assert scores.classes_without_positive == 1
    rows = [(row.name, row.ap_percent, row.positives, row.threshold) for row in scores.per_class]
    assert rows == [
        ("sea", 100, 1, 0.5),
        ("sky", pytest.approx(100 * (1 + 1 + 3 / 4) / 3), 3, 0.25),
        ("never", None, 0, 0.5),
    ]


def test_a_split_without_labels_is_refused(data: TaggedImages) -> None:
    empty = TaggedImages("x", Path("x"), "csv", data.classes, (Sample(Path("a.png"), (), "test"),))
    with pytest.raises(UsageError, match="none of the 1 images has a label"):
        summarize(empty, "test", np.full((1, 3), 0.5), np.full(3, 0.5), "test")
