"""The ladder's order, against builds whose outcome is decided by the test."""

import numpy as np
import pytest

from mlkdc.errors import MlkdcError
from mlkdc.exporting.int8.guard import Ladder, climb
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.stranger import Judgement
from mlkdc.records.parity import Comparison, Parity, ParityFigures, Tolerance

MODULES = ["backbone.stem", *(f"backbone.{name}" for name in "abcdefgh"), "head.embed", "head.ffn.3"]
MEASURED = {name: 9.0 if name in ("backbone.stem", "head.embed") else 0.1 for name in MODULES} | {"backbone.b": 5.0}
FIRST = Quantization(np.zeros((2, 3, 8, 8), dtype=np.uint8), reduce_range=True)
ORDER = [
    "per channel, smallest to largest",
    "biases corrected",
    "outliers clipped",
    "first and last layer in float",
    "head in float",
    "the most sensitive 10% in float",
    "the most sensitive 30% in float",
]


ALLOWED = Tolerance(probability=1, label_flips_percent=100, map_drop_points=0.5, class_drop_points=5.0)


def make_parity(figures, passed, reason):
    comparison = Comparison(
        runtime="stub", images=6, split="val", tolerance=ALLOWED, map_torch_percent=60, figures=figures
    )
    return Parity(passed=passed, reason=reason, comparison=comparison)


def lost(drop, worst_drop):
    """Figures of answers that lose so many points of mAP, and of a class."""
    return ParityFigures(
        map_artifact_percent=60 - drop,
        map_drop_points=drop,
        worst_class="cat",
        worst_class_drop_points=worst_drop,
        classes_judged=3,
        max_probability_difference=0.1,
        label_flips=3,
    )


def promising(how):
    """Each candidate changes the answers a tenth of what the one before does."""
    kept = ["backbone.stem", "head.ffn.3", "head.embed", "backbone.b", "backbone.a"]
    return 10.0 ** -(2 * how.correct_biases + how.clip + 2 * sum(how.keeps(name) for name in kept))


def similar(how):
    """As if all candidates were nearly equal: none is passed over."""
    return 1.0 - 0.01 * (2 * how.correct_biases + how.clip) - 0.001 * len(how.keep)


def run(outcome, worst=lambda how: 0.0, modules=MODULES, change=similar, fast=False, fine_tune=None):
    """Climb with builds that lose ``outcome(how)`` points of mAP and ``worst(how)`` of a class."""
    lines, built = [], []

    def build(how):
        built.append(how)
        drop, worst_drop = outcome(how), worst(how)
        figures = lost(drop, worst_drop)
        passed = drop <= ALLOWED.map_drop_points and worst_drop <= ALLOWED.class_drop_points
        return Judgement(make_parity(figures, passed, None if passed else "the cause"))

    climbed = climb(Ladder(FIRST, modules, lambda: MEASURED, change, build, lines.append, fast, fine_tune))
    return climbed.how, climbed.steps, built, lines


def test_what_holds_at_once_is_kept_and_nothing_is_simulated():
    def never(how):
        raise AssertionError

    how, steps, built, lines = run(lambda how: 0.1, lambda how: 0.2, change=never)
    assert len(built) == len(steps) == len(lines) == 1
    assert (how.per_channel, how.clip, how.keep) == (True, False, ())
    assert (steps[0].step, steps[0].passed) == (ORDER[0], True)
    assert (steps[0].figures.map_drop_points, steps[0].figures.worst_class_drop_points) == (0.1, 0.2)
    assert "mAP drops by 0.10, worst class: cat drops by 0.20; ok" in lines[0]


@pytest.mark.parametrize(
    ("enough", "length"),
    [
        (lambda how: how.correct_biases, 2),
        (lambda how: how.clip and not how.correct_biases, 3),
        (lambda how: how.keeps("backbone.stem") and how.keeps("head.ffn.3"), 4),
        (lambda how: how.keeps("head.embed"), 5),
        (lambda how: how.keeps("backbone.b") and how.keeps("head.embed") and how.keeps("backbone.stem"), 6),
    ],
)
def test_each_step_in_turn(enough, length):
    """Losses just above the limit: nothing is hopeless."""
    how, steps, built, _ = run(lambda how: 0.2 if enough(how) else 0.8)
    assert how == built[-1]
    assert all(settings.reduce_range for settings in built)
    assert [step.step for step in steps] == ORDER[:length]
    assert [step.passed for step in steps] == [False] * (length - 1) + [True]
    assert steps[-1].keep == how.keep
    assert not how.keeps("backbone.a")


def test_limits_that_are_just_held_are_not_enough():
    """The first loses nine tenths of what is allowed, the second less than half."""
    how, steps, _, lines = run(lambda how: 0.2 if how.correct_biases else 0.45, change=promising)
    assert [step.passed for step in steps] == [True, True]
    assert how.correct_biases
    assert "ok, with more than 50% of what is allowed" in lines[0]


def test_where_no_step_has_the_margin_the_first_within_its_limits_is_chosen():
    """Steps that cost time on the device are not made for a margin which the simulation does not see in them."""
    how, steps, _, lines = run(lambda how: 0.45, change=lambda how: 1.0)
    assert how == FIRST
    assert [step.step for step in steps] == ORDER[:1]
    assert any("passed over" in line for line in lines)
    # Where the simulation does, and is wrong, the first is taken all the same.
    how, steps, _, _ = run(lambda how: 0.45, change=promising)
    assert len(steps) > 1
    assert how == FIRST


def test_what_a_simulation_finds_hopeless_is_passed_over():
    """All but the step that keeps most in float would lose as much as the first, four times what is allowed."""
    how, steps, built, lines = run(
        lambda how: 0.2 if len(how.keep) == 4 else 2.0, change=lambda how: 0.1 if len(how.keep) == 4 else 1.0
    )
    assert [step.step for step in steps] == [ORDER[0], ORDER[-1]]
    assert (len(built), how.keep) == (2, built[-1].keep)
    assert sum("passed over, a simulation says that it would lose too much" in line for line in lines) == 4


def test_what_keeps_most_in_float_is_tried_though_it_seems_hopeless():
    _, steps, _, _ = run(lambda how: 0.2 if len(how.keep) == 4 else 2.0, change=lambda how: 1.0)
    assert [(step.step, step.passed) for step in steps] == [(ORDER[0], False), (ORDER[-1], True)]


def test_what_an_artifact_really_lost_corrects_the_simulation():
    """The second promised a hundredth and gave half: the next, which promises little more, is passed over."""

    def outcome(how):
        if len(how.keep) == 4:
            return 0.1
        return 2.0 if how.correct_biases else 4.0

    _, steps, _, _ = run(outcome, change=promising)
    assert [step.step for step in steps][:2] == ORDER[:2]
    assert ORDER[2] not in [step.step for step in steps]
    assert steps[-1].passed


@pytest.mark.parametrize("better", [True, False])
def test_the_estimator_that_changes_less_is_kept(better):
    _, _, built, _ = run(lambda how: 0.8, change=lambda how: similar(how) + 0.1 * (how.clip != better))
    assert {how.clip for how in built if how.keep} == {better}


@pytest.mark.parametrize("better", [True, False])
def test_biases_are_corrected_only_where_that_changes_less(better):
    """It never harms: where the simulation says that it would, nothing of it is built."""
    _, _, built, _ = run(lambda how: 0.8, change=lambda how: similar(how) + 0.1 * (how.correct_biases != better))
    assert {how.correct_biases for how in built[1:] if how.keep} == {better}
    assert any(how.correct_biases for how in built) == better


def test_fast_leaves_out_what_needs_sensitivities():
    _, steps, _, lines = run(lambda how: 0.8, fast=True)
    assert [step.step for step in steps] == ORDER[:5]
    assert any("--fast leaves out" in line for line in lines)


def test_where_nothing_holds_the_least_loss_is_returned():
    how, steps, _, _ = run(lambda how: 0.6 if how.keep == ("backbone.stem", "head") else 0.8)
    assert how.keep == ("backbone.stem", "head")
    assert not any(step.passed for step in steps)


def test_a_class_that_drops_climbs_and_decides_though_map_holds():
    how, steps, _, lines = run(lambda how: 0.1, lambda how: 6 if how.correct_biases else 8)
    assert how.correct_biases
    assert "the cause" in lines[0]
    assert [step.reason for step in steps] == ["the cause"] * len(ORDER)


def test_a_step_that_cannot_be_made_is_skipped():
    def cannot(how):
        if "head" in how.keep:
            raise MlkdcError("no operator has its weights")
        return 0.8

    how, steps, built, lines = run(cannot)
    assert [step.step for step in steps] == ORDER
    assert [step.figures and step.figures.map_drop_points for step in steps] == [0.8] * 4 + [None] * 3
    assert lines[4] == "  int8, head in float: not enough (could not be made: no operator has its weights)"
    assert how == built[0]

    def never(how):
        raise MlkdcError("no such operator")

    with pytest.raises(MlkdcError, match="no such operator"):
        run(never)


def test_a_head_that_is_one_layer_is_one_step():
    _, steps, _, _ = run(lambda how: 0.8, modules=["backbone.stem", "backbone.a", "backbone.b", "head.fc"])
    assert "head in float" not in [step.step for step in steps]


def test_a_model_without_finite_answers_lost_most():
    def build(how):
        figures = None
        if how.clip:
            figures = lost(50, 50)
        return Judgement(make_parity(figures, False, "NaN"))

    lines = []
    climbed = climb(Ladder(FIRST, MODULES, lambda: MEASURED, similar, build, lines.append))
    assert climbed.how.clip
    assert climbed.steps[0].figures is None
    assert lines[0] == f"  int8, {ORDER[0]}: not enough (NaN)"


def test_weights_are_fine_tuned_where_nothing_else_holds():
    """All in int8 again, and where that fails as the step that lost least, but without corrected biases."""
    called = []
    how, steps, _, _lines = run(
        lambda how: 0.2 if how.fine_tuned and how.keep else 0.6 - 0.01 * len(how.keep),
        fine_tune=lambda: called.append(1),
    )
    assert called == [1]
    assert [step.step for step in steps] == [*ORDER, "fine-tuned", f"fine-tuned, {ORDER[-1]}"]
    assert (how.fine_tuned, how.correct_biases, how.keep) == (True, False, steps[-3].keep)
    _, steps, _, _ = run(lambda how: 0.2 if how.fine_tuned else 0.6, fine_tune=lambda: None)
    assert steps[-1].step == "fine-tuned"
    assert steps[-1].keep == ()


def test_weights_are_not_fine_tuned_where_something_holds():
    def never():
        raise AssertionError

    _, steps, _, _ = run(lambda how: 0.45, fine_tune=never)
    assert steps[-1].passed


def test_fine_tuning_that_fails_loses_nothing():
    def fails():
        raise MlkdcError("the loss became NaN")

    _how, steps, _built, lines = run(lambda how: 0.6, fine_tune=fails)
    assert [step.step for step in steps] == ORDER
    assert lines[-1] == "  int8, fine-tuned: could not be made: the loss became NaN"


def changes(plain, clipped, both, kept=10.0):
    """What a simulation says of the plain candidate, of clipped ranges, of biases as well, and of kept layers."""

    def change(how):
        if how.keep:
            return kept
        if how.correct_biases:
            return both
        return clipped if how.clip else plain

    return change


def test_a_simulation_that_was_too_dark_is_corrected_as_well():
    """The second lost less than the simulation said, so that the third, which seemed hopeless, is made."""
    _, steps, _, _ = run(lambda how: 0.55 if how.clip else 4.0, change=changes(1.0, 0.3, 0.2))
    assert [step.step for step in steps][:3] == ORDER[:3]


def test_a_step_without_finite_answers_says_nothing_of_the_simulation():
    def build(how):
        if how.correct_biases:
            return Judgement(make_parity(None, False, "NaN"), np.full((2, 3), np.nan))
        return Judgement(make_parity(lost(4, 4), False, "the cause"), np.zeros((2, 3)))

    climbed = climb(Ladder(FIRST, MODULES, lambda: MEASURED, changes(1.0, 0.5, 0.1), build, lambda line: None))
    assert [step.step for step in climbed.steps] == [ORDER[0], ORDER[1], ORDER[-1]]
    assert [answered.name for answered in climbed.answered] == [ORDER[0]]


def test_biases_must_beat_the_ranges_that_were_chosen():
    _, _, built, _ = run(lambda how: 0.8, change=changes(1.0, 0.5, 0.8, kept=0.4))
    assert any(how.clip for how in built)
    assert not any(how.correct_biases for how in built)


def test_fine_tuned_weights_are_not_made_twice_with_the_same_settings():
    """The first, all in int8, lost least: there is nothing to keep in float."""
    _, steps, _, _ = run(lambda how: 0.6 + 0.1 * len(how.keep) + 0.1 * how.clip, fine_tune=lambda: None)
    assert [step.step for step in steps] == [*ORDER, "fine-tuned"]
