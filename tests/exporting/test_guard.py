"""The ladder's order, against builds whose outcome is decided by the test."""

import numpy as np
import pytest

from mlkdc.errors import MlkdcError
from mlkdc.exporting.formats import Quantization
from mlkdc.exporting.int8.guard import Climb, climb

MODULES = ["backbone.stem", *(f"backbone.{name}" for name in "abcdefgh"), "head.embed", "head.ffn.3"]
MEASURED = {name: 9.0 if name in ("backbone.stem", "head.embed") else 0.1 for name in MODULES} | {"backbone.b": 5.0}
FIRST = Quantization(np.zeros((2, 3, 8, 8), dtype=np.uint8), reduce_range=True)
ORDER = [
    "per channel, smallest to largest",
    "outliers clipped",
    "biases corrected",
    "first and last layer in float",
    "head in float",
    "the most sensitive 10% in float",
    "the most sensitive 30% in float",
]


ALLOWED = {"map": 0.5, "class_ap": 5.0}


def run(outcome, worst=lambda how: 0.0, modules=MODULES):
    """Climb with builds that lose ``outcome(how)`` points of mAP and ``worst(how)`` of a class."""
    said, built = [], []

    def build(how):
        built.append(how)
        fall, lost = outcome(how), worst(how)
        figures = {"mAP_artifact": 60 - fall, "mAP_drop": fall, "worst_class": "cat", "worst_class_drop": lost}
        passed = fall <= ALLOWED["map"] and lost <= ALLOWED["class_ap"]
        figures |= {"label_flips": 3, "max_probability_difference": 0.1, "tolerance": ALLOWED}
        return {**figures, "passed": passed, "reason": None if passed else "the cause"}

    ladder = Climb(FIRST, modules, lambda: MEASURED, build, said.append)
    return *climb(ladder), built, said


def test_what_holds_at_once_is_kept():
    how, steps, built, said = run(lambda how: 0.1, lambda how: 0.2)
    assert len(built) == len(steps) == len(said) == 1
    assert (how.per_channel, how.clip, how.keep) == (True, False, ())
    assert steps[0] | {"step": ORDER[0], "mAP_drop": 0.1, "worst_class_drop": 0.2, "passed": True} == steps[0]
    assert "mAP falls by 0.10, cat by 0.20: ok" in said[0]


@pytest.mark.parametrize(
    ("enough", "length"),
    [
        (lambda how: how.clip, 2),
        (lambda how: how.correct, 3),
        (lambda how: how.keeps("backbone.stem") and how.keeps("head.ffn.3"), 4),
        (lambda how: how.keeps("head.embed"), 5),
        (lambda how: how.keeps("backbone.b") and how.keeps("head.embed") and how.keeps("backbone.stem"), 6),
    ],
)
def test_each_step_in_turn(enough, length):
    how, steps, built, _ = run(lambda how: 0.2 if enough(how) else 3)
    assert how == built[-1]
    assert all(each.reduce_range for each in built)
    assert [step["step"] for step in steps] == ORDER[:length]
    assert [step["passed"] for step in steps] == [False] * (length - 1) + [True]
    assert steps[-1]["keep"] == list(how.keep)
    assert not how.keeps("backbone.a")


@pytest.mark.parametrize("better", [True, False])
def test_the_estimator_that_lost_less_goes_on(better):
    _, steps, built, _ = run(lambda how: 2 if how.clip == better else 4)
    assert {how.clip for how in built[2:]} == {better}
    assert len(steps) == len(ORDER)


@pytest.mark.parametrize("better", [True, False])
def test_corrected_biases_go_on_where_they_lose_less(better):
    _, steps, built, _ = run(lambda how: 2 if how.correct == better else 4)
    assert [how.correct for how in built] == [False, False, True] + [better] * 4
    assert [step["correct"] for step in steps] == [how.correct for how in built]


def test_where_nothing_holds_the_least_loss_is_returned():
    how, steps, _, _ = run(lambda how: 1 if how.keep == ("backbone.stem", "head") else 2)
    assert how.keep == ("backbone.stem", "head")
    assert not any(step["passed"] for step in steps)


def test_a_class_that_falls_climbs_and_decides_though_map_holds():
    """The estimator that saves the class goes on, although it costs some mAP; so with what is returned in the end."""
    how, steps, built, said = run(lambda how: 0.2 if how.clip else 0.1, lambda how: 6 if how.clip else 40)
    assert all(how.clip for how in built[1:])
    assert how.clip
    assert "the cause" in said[0]
    assert [step["reason"] for step in steps] == ["the cause"] * len(ORDER)


def test_a_step_that_cannot_be_made_is_passed_over():
    def cannot(how):
        if "head" in how.keep:
            raise MlkdcError("no operator has its weights")
        return 3

    how, steps, built, said = run(cannot)
    assert [step["step"] for step in steps] == ORDER
    assert [step["mAP_drop"] for step in steps] == [3, 3, 3, 3, None, None, None]
    assert said[4] == "  int8, head in float: not enough (could not be made: no operator has its weights)"
    assert how == built[0]

    def never(how):
        raise MlkdcError("no such operator")

    with pytest.raises(MlkdcError, match="no such operator"):
        run(never)


def test_a_head_that_is_one_layer_is_one_step():
    _, steps, _, _ = run(lambda how: 1, modules=["backbone.stem", "backbone.a", "backbone.b", "head.fc"])
    assert "head in float" not in [step["step"] for step in steps]


def test_a_model_without_finite_answers_lost_most():
    def build(how):
        fall = 50.0 if how.clip else None
        figures = {"mAP_drop": fall, "worst_class": "cat", "worst_class_drop": fall, "tolerance": ALLOWED}
        return {**figures, "passed": False, "reason": "NaN"}

    how, steps = climb(Climb(FIRST, MODULES, lambda: MEASURED, build, lambda text: None))
    assert how.clip
    assert steps[0]["mAP_drop"] is None
