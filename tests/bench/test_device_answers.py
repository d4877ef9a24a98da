"""What a device answers, held against what the run keeps and what the export allowed."""

import numpy as np
import pytest
from fake_device import FakeDevice, turn
from PIL import Image

from mlkdc.bench import Plan, Questions, ScoredImages, artifact_rows, bench
from mlkdc.images import load_square
from mlkdc.records.answers import KnownAnswers
from mlkdc.records.bench import LatencyRow
from mlkdc.records.manifest import Manifest
from mlkdc.records.parity import Comparison, Parity, Tolerance

NAME = "onnx-fp32"


def known(*answers: list[float]) -> KnownAnswers:
    """Images of which the torch model gave these probabilities."""
    count, labels = len(answers), len(answers[0])
    return KnownAnswers(np.zeros((count, 3, 8, 8), np.uint8), np.float32(answers), np.zeros((count, labels), np.uint8))


def asked(folder, answer, questions: Questions, threads: tuple[int, ...] = (1,)) -> tuple[LatencyRow, ...]:
    """The rows of an artifact whose device gives ``answer(pixels)``."""
    device = FakeDevice("pi", {NAME: [turn() for _ in threads]})
    device.answer = answer
    plan = Plan(passes=1, threads=threads)
    return bench(artifact_rows([folder]), plan, devices=[device], questions={NAME: questions}).rows


def test_answers_are_asked_once_whatever_the_order_of_threads(make_artifact):
    counts = []

    def answer(pixels):
        counts.append(len(pixels))
        return np.full((len(pixels), 3), 0.4, np.float32)

    rows = asked(make_artifact(), answer, Questions(known([0.4] * 3, [0.4] * 3)), threads=(2, 1))
    assert counts == [2]
    assert [row.accuracy.images for row in rows] == [2, 2]


def exported(allowed: float | None) -> Parity:
    """A check that allowed a probability to differ so much; None = none was made."""
    if allowed is None:
        return Parity(passed=True)
    tolerance = Tolerance(probability=allowed, label_flips_percent=0, map_drop_points=0, class_drop_points=0)
    comparison = Comparison(
        runtime="onnxruntime", images=2, split="val", map_torch_percent=50, figures=None, tolerance=tolerance
    )
    return Parity(passed=True, comparison=comparison)


@pytest.mark.parametrize(("allowed", "expected"), [(0.3, True), (0.28, False), (None, False)])
def test_answers_are_held_against_the_tolerance_and_thresholds_of_the_export(allowed, expected, make_artifact):
    """The largest difference is one below the torch model's; a probability at its threshold gives the label."""
    folder = make_artifact(thresholds=(0.2, 0.6, 0.75), parity=exported(allowed))
    (row,) = asked(folder, lambda pixels: np.float32([[0.21, 0.7, 0.74]]), Questions(known([0.5, 0.5, 0.75])))
    assert row.accuracy.max_probability_difference == pytest.approx(0.29, abs=1e-6)
    assert row.accuracy.label_flips == 2
    assert row.accuracy.within_tolerance is expected


@pytest.mark.parametrize(("answer", "expected"), [(0.50009, True), (0.50011, False)])
def test_answers_of_what_was_not_compared_are_held_against_the_targets_tolerance(answer, expected, make_artifact):
    """Of onnx in fp32 a probability may differ by 0.0001."""
    folder = make_artifact(status="unverified", parity=Parity(passed=None, reason="no runtime here"))
    (row,) = asked(folder, lambda pixels: np.float32([[answer] * 3]), Questions(known([0.5] * 3)))
    assert row.accuracy.within_tolerance is expected


def test_images_are_prepared_as_the_manifest_says(make_artifact, tmp_path):
    folder = make_artifact()
    manifest = Manifest.load(folder)
    preprocess = manifest.preprocess.model_copy(update={"fit": "pad"})
    manifest.model_copy(update={"preprocess": preprocess}).save(folder)
    path = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 40, 3), dtype=np.uint8)).save(path)
    seen = []

    def answer(pixels):
        seen.append(pixels)
        return np.full((len(pixels), 3), 0.5, np.float32)

    asked(folder, answer, Questions(scored=ScoredImages("test", [path], np.ones((1, 3), np.uint8))))
    np.testing.assert_array_equal(seen[0][0].transpose(1, 2, 0), load_square(path, 8, "pad"))
