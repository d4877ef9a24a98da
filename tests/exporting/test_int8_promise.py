"""What is promised of other images, against images that are other."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mlkdc.exporting.int8.choice import choose, with_margin
from mlkdc.exporting.int8.halves import halves
from mlkdc.exporting.int8.promise import Answered, promise
from mlkdc.exporting.parity import compare, map_drop_interval
from mlkdc.exporting.reference import Reference
from mlkdc.records.parity import Tolerance

ALLOWED = Tolerance(probability=1, label_flips_percent=100, map_drop_points=2, class_drop_points=8)
COUNT = 400
LABELS = ("cat", "dog", "bird")
THRESHOLDS = np.full(3, 0.5)


def make_reference(count=COUNT, frequency=0.3):
    random = np.random.default_rng(3)
    targets = (random.random((count, 3)) < frequency).astype(np.uint8)
    noise = 0.2 * random.standard_normal((count, 3))
    probabilities = np.clip(0.3 + 0.4 * targets + noise, 0.01, 0.99).astype(np.float32)
    return Reference("val", LABELS, targets, random.random((count, 4)), probabilities)


def spoiled(reference, rows):
    """The torch model's answers, and noise for some of the images."""
    random = np.random.default_rng(4)
    answers = reference.probabilities.copy()
    answers[rows] = random.random((int(rows.sum()), 3))
    return answers


def test_halves_have_as_many_positives_of_each_label():
    random = np.random.default_rng(0)
    targets = (random.random((301, 30)) < 0.05).astype(np.uint8)
    pixels = random.integers(0, 256, (301, 3, 2, 2), dtype=np.uint8)
    second = halves(pixels, targets)
    assert abs(int(second.sum()) - 150.5) < 2
    first_positives, second_positives = targets[~second].sum(0), targets[second].sum(0)
    assert abs(first_positives.astype(int) - second_positives).max() <= 2
    # The halves belong to the images, not to their order.
    order = random.permutation(301)
    np.testing.assert_array_equal(halves(pixels[order], targets[order]), second[order])


def test_images_are_judged_by_what_the_other_half_chose():
    """Each step is spoiled on one half: whoever chooses by one half breaks on the other."""
    reference = make_reference()
    second = halves(reference.pixels, reference.targets)
    good_on_first, good_on_second = spoiled(reference, second), spoiled(reference, ~second)
    actual = promise(reference, [Answered("a", good_on_first), Answered("b", good_on_second)], THRESHOLDS, ALLOWED)
    # Of the first half's images, chosen by the second, and of the second's.
    assert actual.chosen == ("a", "b")
    everything_spoiled = np.where(second[:, None], good_on_first, good_on_second)
    expected = 100 * (
        average_precision_score(reference.targets, reference.probabilities, average="macro")
        - average_precision_score(reference.targets, everything_spoiled, average="macro")
    )
    assert actual.figures.map_drop_points == pytest.approx(expected, abs=1e-6)
    assert expected > 10
    assert not actual.firm
    assert "on images that had no part in the choice it is out of its limits" in actual.doubt
    assert actual.images == (200, 200)


def test_a_step_that_holds_everywhere_is_promised():
    reference = make_reference()
    random = np.random.default_rng(5)
    answers = np.clip(reference.probabilities + 0.005 * random.standard_normal((COUNT, 3)), 0, 1)
    actual = promise(reference, [Answered("a", answers.astype(np.float32))], THRESHOLDS, ALLOWED)
    assert (actual.firm, actual.doubt) == (True, None)
    assert actual.chosen == ("a", "a")
    # With one step there is nothing to choose: the figures are those of the step.
    assert actual.figures == compare(reference, answers.astype(np.float32), THRESHOLDS, ALLOWED, "").figures


def test_limits_inside_an_interval_are_no_firm_promise():
    reference = make_reference()
    answers = reference.probabilities.copy()
    random = np.random.default_rng(6)
    answers[:, 1] = np.clip(answers[:, 1] + 0.12 * random.standard_normal(COUNT), 0, 1)
    drop = promise(reference, [Answered("a", answers)], THRESHOLDS, ALLOWED).figures
    assert drop.worst_class == "dog"
    high = drop.worst_class_interval_points[1]
    wide = ALLOWED.model_copy(update={"map_drop_points": 5})
    between = wide.model_copy(update={"class_drop_points": (drop.worst_class_drop_points + high) / 2})
    actual = promise(reference, [Answered("a", answers)], THRESHOLDS, between)
    assert not actual.firm
    assert actual.doubt.startswith(f"AP of dog may drop by up to {high:.2f}, allowed")
    above = wide.model_copy(update={"class_drop_points": high + 0.1})
    assert promise(reference, [Answered("a", answers)], THRESHOLDS, above).firm


def test_few_images_promise_little_and_refuse_nothing():
    reference = make_reference(count=30)
    actual = promise(reference, [Answered("a", reference.probabilities)], THRESHOLDS, ALLOWED)
    assert not actual.firm
    assert actual.doubt == "no label has 20 positive images, enough for both halves to judge it"
    assert promise(make_reference(count=1), [Answered("a", reference.probabilities[:1])], THRESHOLDS, ALLOWED) is None
    assert promise(reference, [], THRESHOLDS, ALLOWED) is None


def test_a_rare_label_next_to_frequent_ones_takes_no_promise_away():
    reference = make_reference()
    targets = reference.targets.copy()
    targets[5:, 2] = 0
    reference = replace(reference, targets=targets)
    assert promise(reference, [Answered("a", reference.probabilities)], THRESHOLDS, ALLOWED).firm


def test_a_limit_of_map_inside_its_interval_is_no_firm_promise():
    reference = make_reference()
    answers = spoiled(reference, np.arange(COUNT) % 20 == 0)
    loose = ALLOWED.model_copy(update={"map_drop_points": 100, "class_drop_points": 100})
    wide = promise(reference, [Answered("a", answers)], THRESHOLDS, loose)
    high = wide.map_drop_interval_points[1]
    between = loose.model_copy(update={"map_drop_points": (wide.figures.map_drop_points + high) / 2})
    actual = promise(reference, [Answered("a", answers)], THRESHOLDS, between)
    assert not actual.firm
    assert actual.doubt.startswith(f"mAP may drop by up to {high:.2f}, allowed")


def test_flipped_labels_alone_are_a_doubt():
    reference = make_reference()
    answers = reference.probabilities.copy()
    answers[0] = np.where(answers[0] >= 0.5, 0.499, 0.501)
    no_flip = ALLOWED.model_copy(update={"label_flips_percent": 0.0})
    actual = promise(reference, [Answered("a", answers)], THRESHOLDS, no_flip)
    assert not actual.firm
    assert "3 of 1200 labels flipped" in actual.doubt


def test_halves_of_an_odd_number_are_counted_in_their_order():
    reference = make_reference(count=401)
    second = halves(reference.pixels, reference.targets)
    assert second.sum() != (~second).sum()
    actual = promise(reference, [Answered("a", reference.probabilities)], THRESHOLDS, ALLOWED)
    assert actual.images == ((~second).sum(), second.sum())


def parity(map_drop, class_drop=0.0, passed=True, **allowed):
    reference = make_reference()
    compared = compare(reference, reference.probabilities, THRESHOLDS, ALLOWED.model_copy(update=allowed), "")
    figures = compared.figures.model_copy(update={"map_drop_points": map_drop, "worst_class_drop_points": class_drop})
    comparison = compared.comparison.model_copy(update={"figures": figures})
    return compared.model_copy(update={"passed": passed, "comparison": comparison})


def test_the_first_with_a_margin_is_chosen():
    well, more, barely = parity(0.9), parity(1.4), parity(1.9)
    broken, worse = parity(2.5, passed=False), parity(3, passed=False)
    assert choose([broken, barely, more, well]) == 3
    assert choose([broken, barely, more]) == 2
    assert choose([broken, barely, broken]) == 1
    assert choose([worse, broken, worse]) == 1


def test_what_fails_by_another_limit_has_no_margin():
    """Labels that flipped, where mAP and every class hold easily."""
    flipped = parity(0.1, passed=False)
    assert not with_margin(flipped)
    assert choose([flipped, parity(1.9)]) == 1


def test_where_no_drop_is_allowed_the_smaller_one_is_chosen():
    nothing = {"map_drop_points": 0.0, "class_drop_points": 0.0}
    assert choose([parity(2, 1, passed=False, **nothing), parity(1, 1, passed=False, **nothing)]) == 1


def test_three_quarters_of_a_small_limit_of_a_class_are_no_margin():
    assert not with_margin(parity(0.0, 0.15, class_drop_points=0.2))


def test_the_interval_of_map_is_that_of_resampled_images():
    reference = make_reference()
    answers = spoiled(reference, np.arange(COUNT) % 5 == 0)
    random = np.random.default_rng(7)
    drops = []
    for _ in range(200):
        rows = random.integers(0, COUNT, COUNT)
        before, after = (
            average_precision_score(reference.targets[rows], scores[rows], average="macro")
            for scores in (reference.probabilities, answers)
        )
        drops.append(100 * (before - after))
    expected = np.percentile(drops, [5, 95])
    actual = map_drop_interval(reference.targets, reference.probabilities, answers)
    np.testing.assert_allclose(actual, expected, atol=1)
