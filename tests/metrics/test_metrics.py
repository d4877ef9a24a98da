"""Every metric against scikit-learn, timm's evaluator, or a slow loop written from the definition."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from timm.task.evaluator import MultiLabelClassificationEvaluator

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.metrics import average_precision, evaluate, tune_thresholds


def make(seed: int, n: int = 120, q: int = 9, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Targets with a positive in every class, and probabilities that know something about them."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, q)) < rng.uniform(0.05, 0.5, q)).astype(np.uint8)
    targets[0] = 1
    logits = 2 * targets - 1 + rng.normal(0, 1.5, (n, q))
    probabilities = 1 / (1 + np.exp(-logits))
    return targets, (np.round(probabilities, 1) if ties else probabilities).astype(np.float32)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_sklearn_agrees_on_decisions_at_one_half(seed, ties):
    targets, probabilities = make(seed, ties=ties)
    decided = probabilities >= 0.5
    summary = evaluate(targets, probabilities, None).summary
    for letter, average in (("O", "micro"), ("C", "macro")):
        expected = sk.precision_recall_fscore_support(targets, decided, average=average, zero_division=0)[:3]
        values = [summary[letter + figure] for figure in ("P", "R", "F1")]
        np.testing.assert_allclose(values, 100 * np.array(expected), rtol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_timm_evaluator_agrees(ties):
    targets, probabilities = make(2, ties=ties)
    probabilities = probabilities.clip(0.01, 0.99)
    evaluator = MultiLabelClassificationEvaluator()
    evaluator.update(torch.logit(torch.from_numpy(probabilities).double()), torch.from_numpy(targets))
    # timm decides on the sigmoid of float32 logits: keep ours the same to the last digit
    ours = torch.cat(evaluator.outputs).sigmoid().numpy()
    theirs = evaluator.compute()
    summary = evaluate(targets, ours, None).summary
    assert summary["mAP"] == pytest.approx(theirs["map"], abs=1e-9)
    assert summary["OF1"] == pytest.approx(theirs["micro_f1"], abs=1e-9)
    assert summary["CF1"] == pytest.approx(theirs["macro_f1"], abs=1e-9)


def slow_average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Sum over distinct thresholds, highest first, of the gain in recall times the precision there."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        recall = truth[chosen].sum() / truth.sum()
        total += (recall - recall_before) * truth[chosen].mean()
        recall_before = recall
    return total


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_the_slow_sum(ties):
    targets, probabilities = make(3, ties=ties)
    expected = [slow_average_precision(targets[:, k], probabilities[:, k]) for k in range(targets.shape[1])]
    np.testing.assert_allclose(average_precision(targets, probabilities), expected, rtol=1e-12)
    np.testing.assert_allclose(evaluate(targets, probabilities).per_class_ap, 100 * np.array(expected))


def test_class_without_positive_is_skipped_and_counted():
    targets, probabilities = make(4)
    targets[:, [2, 5]] = 0
    kept = [k for k in range(targets.shape[1]) if k not in (2, 5)]
    scores = evaluate(targets, probabilities, tune_thresholds(targets, probabilities))
    reduced = evaluate(targets[:, kept], probabilities[:, kept]).summary
    assert scores.classes_without_positive == 2
    assert scores.per_class_ap[2] is None
    assert scores.per_class_ap[5] is None
    for name in ("mAP", "CP", "CR", "CF1"):
        assert scores.summary[name] == pytest.approx(reduced[name])
    expected = sk.f1_score(targets, probabilities >= 0.5, average="macro", labels=kept)
    assert scores.summary["CF1"] == pytest.approx(100 * expected)
    # yet a wrong label still costs overall precision
    assert scores.summary["OP"] < reduced["OP"]
    assert np.isnan(average_precision(targets, probabilities)[[2, 5]]).all()


def test_class_never_predicted_has_precision_zero():
    targets = np.array([[1, 1], [1, 0]], dtype=np.uint8)
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2]])
    summary = evaluate(targets, probabilities).summary
    assert summary["CP"] == pytest.approx(50)
    assert summary["CR"] == pytest.approx(50)
    assert summary["OP"] == pytest.approx(100)
    assert summary["OR"] == pytest.approx(100 * 2 / 3)


def test_at_n_is_the_slow_loop_over_images():
    targets, probabilities = make(5)
    targets[7] = 0  # an image without a label gets none
    decided = np.zeros_like(targets)
    for i in range(len(targets)):
        best = sorted(range(targets.shape[1]), key=lambda k: probabilities[i, k], reverse=True)
        decided[i, best[: int(targets[i].sum())]] = 1
    assert (decided.sum(axis=1) == targets.sum(axis=1)).all()
    summary = evaluate(targets, probabilities).summary
    assert summary["OF1@n"] == pytest.approx(100 * sk.f1_score(targets, decided, average="micro"))
    assert summary["CF1@n"] == pytest.approx(100 * sk.f1_score(targets, decided, average="macro"))


def test_at_n_gives_exactly_n_labels_when_scores_tie():
    targets = np.array([[1, 1, 0], [0, 0, 1]], dtype=np.uint8)
    summary = evaluate(targets, np.full((2, 3), 0.5)).summary
    # columns 0 and 1 for the first image, column 0 for the second: 2 of 3 right
    assert summary["OF1@n"] == pytest.approx(100 * 2 / 3)


def test_top1_is_the_slow_loop():
    targets, probabilities = make(6)
    targets[3] = 0
    precisions, recalls = [], []
    for truth, row in zip(targets, probabilities, strict=True):
        if truth.any():
            hit = truth[int(np.argmax(row))]
            precisions.append(hit)
            recalls.append(hit / truth.sum())
    summary = evaluate(targets, probabilities).summary
    assert summary["P@1"] == pytest.approx(100 * np.mean(precisions))
    assert summary["R@1"] == pytest.approx(100 * np.mean(recalls))


@pytest.mark.parametrize("ties", [False, True])
def test_tuned_thresholds_have_the_best_f1_of_all_cuts(ties):
    targets, probabilities = make(7, ties=ties)
    thresholds = tune_thresholds(targets, probabilities)
    for k, threshold in enumerate(thresholds):
        truth, scores = targets[:, k], probabilities[:, k]
        best = max(sk.f1_score(truth, scores >= cut) for cut in np.unique(scores))
        assert sk.f1_score(truth, scores >= threshold) == pytest.approx(best)
        assert 0 <= threshold <= 1
        assert not np.isclose(scores, threshold, atol=1e-9).any(), "a score on the threshold flips easily"


def test_tuned_metrics_use_the_thresholds_passed_in():
    targets, probabilities = make(8)
    tuned = tune_thresholds(*make(9))
    summary = evaluate(targets, probabilities, tuned).summary
    expected = sk.precision_recall_fscore_support(targets, probabilities >= tuned, average="macro")[:3]
    np.testing.assert_allclose([summary[f"{n}@tuned"] for n in ("CP", "CR", "CF1")], 100 * np.array(expected))
    assert not any(name.endswith("@tuned") for name in evaluate(targets, probabilities).summary)


def test_of_thresholds_with_one_f1_the_lowest_is_taken():
    """The best alone has precision 1 and recall 1/2; all four have 1/2 and 1."""
    targets, probabilities = np.array([[1], [0], [0], [1]]), np.array([[0.9], [0.8], [0.7], [0.6]])
    np.testing.assert_allclose(tune_thresholds(targets, probabilities), [0.3])


def test_a_score_on_the_threshold_gets_the_label():
    targets, probabilities = np.array([[1, 0], [0, 1]]), np.array([[0.5, 0.1], [0.2, 0.7]])
    summary = evaluate(targets, probabilities, np.array([0.5, 0.7])).summary
    assert (summary["OR"], summary["OR@tuned"]) == (100, 100)


def test_threshold_without_a_positive_is_one_half_and_separable_is_half_way():
    targets = np.array([[1, 0], [0, 0]], dtype=np.uint8)
    probabilities = np.array([[0.9, 0.3], [0.3, 0.2]])
    np.testing.assert_allclose(tune_thresholds(targets, probabilities), [0.6, 0.5])


def test_neighboring_floats_do_not_move_the_threshold_onto_the_lower_score():
    high = np.nextafter(0.5, 0)  # odd last digit: half way to the next lower float rounds to that one
    low = np.nextafter(high, 0)
    assert (high + low) / 2 == low
    targets, probabilities = np.array([[1], [0]]), np.array([[high], [low]])
    assert tune_thresholds(targets, probabilities)[0] > low


@pytest.mark.parametrize("function", [average_precision, tune_thresholds, evaluate])
def test_bad_arrays_are_refused(function):
    targets, probabilities = make(10, n=20, q=3)
    with pytest.raises(ValueError, match=r"in 0..1, got .*sigmoid"):
        function(targets, 8 * probabilities - 4)
    with pytest.raises(ValueError, match="one shape"):
        function(targets[:, :2], probabilities)
    with pytest.raises(ValueError, match="one shape"):
        function(targets[:0], probabilities[:0])
    with pytest.raises(ValueError, match="zeros and ones"):
        function(targets * 2, probabilities)
    probabilities[4, 1] = np.nan
    with pytest.raises(MlkdcError, match="NaN for 1 of 20 images"):
        function(targets, probabilities)


def test_nothing_to_score_and_wrong_thresholds_are_refused():
    targets, probabilities = make(11, n=20, q=3)
    with pytest.raises(UsageError, match="none of the 20 images"):
        evaluate(np.zeros_like(targets), probabilities)
    with pytest.raises(ValueError, match="3 thresholds"):
        evaluate(targets, probabilities, np.array([0.5]))
