"""Halves of images: an artifact that fails on some of them only, and how that is counted on the page."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from promise_records import Choice, Draw, HalfFigures, PromiseRow, PromiseStudy

from mlkdc.exporting.int8.promise import Answered
from mlkdc.exporting.reference import Reference
from mlkdc.records.machine import Machine
from mlkdc.records.parity import Tolerance

TOLERANCE = Tolerance(probability=1, label_flips_percent=100, map_drop_points=0.5, class_drop_points=5)
COUNT = 80


@pytest.fixture(scope="module")
def promise() -> Any:
    return import_module("promise")


@pytest.fixture(scope="module")
def reference() -> Reference:
    """Two labels that every second image has, ranked perfectly."""
    targets = np.stack([np.arange(COUNT) % 2] * 2, 1).astype(np.uint8)
    probabilities = np.where(targets == 1, 0.9, 0.1).astype(np.float32)
    files = tuple(Path(f"{index}.jpg") for index in range(COUNT))
    return Reference("val", ("a", "b"), targets, np.zeros((COUNT, 3, 1, 1), np.uint8), probabilities, files)


@pytest.fixture(scope="module")
def answers(reference: Reference) -> np.ndarray:
    """Label b is reversed in the last 40 images."""
    wrong = reference.probabilities.copy()
    wrong[40:, 1] = 1 - wrong[40:, 1]
    return wrong


@pytest.fixture(scope="module")
def ladder(promise: Any, reference: Reference, answers: np.ndarray) -> Any:
    """Two steps: one is wrong for the last images, the other for none."""
    steps = (Answered("wrong", answers), Answered("right", reference.probabilities))
    return promise.Ladder(reference, steps, np.array([0.5, 0.5]), TOLERANCE)


def test_a_half_is_judged_by_its_images_alone(promise: Any, ladder: Any) -> None:
    good = promise.half_figures(ladder.parity(ladder.answered[0], np.arange(40)))
    assert (good.held, good.worst_class_drop_points, good.classes_judged) == (True, 0.0, 2)
    bad = promise.half_figures(ladder.parity(ladder.answered[0], np.arange(40, COUNT)))
    # The negatives tie at the top, the positives tie behind them: all are found at 20 of 40.
    assert (bad.held, bad.worst_class) == (False, "b")
    assert bad.worst_class_drop_points == pytest.approx(50)
    assert bad.worst_class_upper_points >= bad.worst_class_drop_points


def test_a_half_chooses_by_its_images_alone(promise: Any, ladder: Any) -> None:
    """The first 40 images see nothing wrong with the first step, the others do."""
    draw = promise.draw(ladder, np.arange(40), np.arange(40, COUNT))
    assert (draw.first.step, draw.margin.step) == ("wrong", "wrong")
    assert draw.first.judged.held
    assert not draw.first.other.held
    draw = promise.draw(ladder, np.arange(40, COUNT), np.arange(40))
    assert (draw.first.step, draw.margin.step) == ("right", "right")
    assert draw.margin.other.held


def test_halves_are_disjoint_complete_and_the_same_for_every_artifact(
    promise: Any, ladder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []

    def record(_ladder: Any, rows: np.ndarray, others: np.ndarray) -> Draw:
        seen.extend((rows, others))
        choice = Choice(step="a", judged=figures(held=True), other=figures(held=True))
        return Draw(first=choice, margin=choice)

    monkeypatch.setattr(promise, "draw", record)
    for _artifact in range(2):
        assert len(promise.halved(ladder)) == 20
    for judged, other in zip(seen[::2], seen[1::2], strict=True):
        assert sorted([*judged, *other]) == list(range(COUNT))
        assert len(judged) == COUNT // 2
    first, second = seen[:40], seen[40:]
    assert all(np.array_equal(one, another) for one, another in zip(first, second, strict=True))
    assert not np.array_equal(first[0], first[2])


def test_only_limits_that_held_can_break() -> None:
    good, bad = figures(held=True), figures(held=False, map_drop=0.75, class_drop=8)
    breaks = Choice(step="a", judged=good, other=bad, firm=False)
    holds = Choice(step="b", judged=good, other=good, firm=True)
    never = Choice(step="a", judged=bad, other=bad, firm=False)
    draws = (Draw(first=breaks, margin=holds), Draw(first=breaks, margin=breaks), Draw(first=never, margin=never))
    row = PromiseRow(
        artifact="onnx-int8", steps=("a", "b"), images=COUNT, split="val", tolerance=TOLERANCE, draws=draws
    )
    machine = Machine(cpu="x", cores=2, vnni=True, memory_gib=4, system="y")
    study = PromiseStudy(
        command="c", data="photos", student="mobilenetv2", seed=0, versions={}, machine=machine, rows=(row,)
    )
    text = "\n".join(import_module("promise_tables").promise(study))
    assert "first that holds: 2 times of 2; with a margin: 1 time of 2; of these firm: 0 times of 1." in text
    # Above the interval of 0..6 is the drop of 8.
    assert "| onnx-int8 | first that holds | 2 of 3 | 2 | 2 | 2 | 2 |" in text
    assert "| onnx-int8 | with a margin | 2 of 3 | 1 | 1 | 1 | 1 |" in text
    assert "| onnx-int8 | of these firm | 1 of 3 | 0 | 0 | 0 | 0 |" in text


def figures(*, held: bool, map_drop: float = 0.0, class_drop: float = 0.0) -> HalfFigures:
    return HalfFigures(
        held=held,
        map_drop_points=map_drop,
        worst_class="a",
        worst_class_drop_points=class_drop,
        worst_class_upper_points=6.0,
        classes_judged=2,
    )
