"""The loss of the labels: those that can stand in place of bce, and what bce can be told to do."""

import pytest
import torch
from batches import alone, make_batch, random_targets
from timm.loss import AsymmetricLossMultiLabel
from timm.loss.class_weights import compute_class_weights
from torch.nn import functional as F

from mlkdc.errors import UsageError
from mlkdc.losses import TERMS, Batch, Outputs, make_objective
from mlkdc.recipe import Distill

BASES = ["asl", "focal", "two-way", "zlpr"]


@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("gammas", [(1, 4), (0, 4), (0.5, 2.5), (0, 0)])
@pytest.mark.parametrize("clip", [0.0, 0.05, 0.2])
def test_asl_is_that_of_timm_where_timm_holds_no_probability(labels, gammas, clip):
    batch = make_batch(random_targets(), scale=3)
    targets = batch.targets.float()
    if labels == "soft":
        # Of a soft label timm weights by the probability mixed of both sides, and so does this.
        targets = targets.lerp(1 - targets, 0.3)
    timm = AsymmetricLossMultiLabel(gamma_neg=gammas[1], gamma_pos=gammas[0], clip=clip)
    expected = timm(batch.student.logits, targets)
    options = {"gamma_positive": gammas[0], "gamma_negative": gammas[1], "clip": clip}
    value = alone("asl", "paper", **options)(Batch(targets, batch.student))
    torch.testing.assert_close(value, expected)


def test_small_exponents_of_asl_leave_gradients_finite_at_sure_labels():
    logits = torch.tensor([[50.0, -50.0, 0.0]], requires_grad=True)
    batch = Batch(torch.tensor([[1.0, 0.0, 1.0]]), Outputs(logits))
    alone("asl", gamma_positive=0.3, gamma_negative=0.3)(batch).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0, :2].abs().max() < 1e-3 < logits.grad[0, 2].abs()


def test_a_label_missed_by_far_still_gets_a_gradient():
    targets = torch.tensor([[1.0, 0.0]])
    for name in BASES:
        logits = torch.tensor([[-50.0, 50.0]], requires_grad=True)
        alone(name)(Batch(targets, Outputs(logits))).backward()
        assert logits.grad[0, 0] < -0.1, name


@pytest.mark.parametrize("base", BASES)
def test_a_base_loss_takes_the_place_and_weight_of_bce(base):
    batch = make_batch(random_targets())
    objective = make_objective(Distill(method="mld", base=base, terms={"bce": 2, "mld": 3}))
    assert objective.weights == {base: 2, "mld": 3}
    torch.testing.assert_close(objective(batch)[base], 2 * alone(base)(batch))
    averaged = make_objective(Distill(base=base, form="paper"))(batch)[base]
    torch.testing.assert_close(6 * averaged, alone(base)(batch))


@pytest.mark.parametrize(
    ("distill", "said"),
    [
        ({"method": "ps-kd", "base": "asl"}, "distill.base: asl takes the place of bce, which method 'ps-kd' does not"),
        ({"base": "asl", "terms": {"bce": 0, "mld": 1}}, "distill.base: asl takes the place of bce"),
        ({"base": "asl", "terms": {"asl": 1}}, "distill.base: asl is one of the terms already"),
        ({"base": "asl", "options": {"bce": {"smoothing": 0.1}}}, "distill.options.bce: not a term of this recipe"),
        ({"balance": {"mlld": 0.1}}, "distill.balance.mlld: unknown loss term; did you mean mld"),
        ({"balance": {"mld": 0.0}}, "distill.balance.mld: expected a share above 0 and below 1, got 0"),
        (
            {"balance": {"mld": 0.6, "mse": 0.4}},
            "distill.balance: expected shares that leave something .* got 1 in all",
        ),
        ({"balance": {"mld": 0.5}, "terms": {"mld": 0}}, "distill.balance.mld: not a term of this recipe"),
        ({"balance": {"bce": 0.5}}, "distill.balance: shares of all terms are held"),
    ],
)
def test_impossible_bases_and_shares_are_refused(distill, said):
    with pytest.raises(UsageError, match=said):
        make_objective(Distill(**distill))


@pytest.mark.parametrize("base", ["bce", "asl"])
def test_the_base_loss_can_be_held_too(base):
    objective = make_objective(Distill(method="mld", base=base, balance={base: 0.5}))
    assert objective.weights == {base: 1, "mld": 10}


def test_a_term_of_balance_that_the_method_lacks_is_added():
    objective = make_objective(Distill(balance={"mld": 0.3}))
    assert objective.weights == {"bce": 1, "mld": 1}
    assert objective.needs_teacher
    assert make_objective(Distill(method="mld", balance={"mld": 0.3})).weights == {"bce": 1, "mld": 10}


def test_smoothing_moves_labels_towards_one_half():
    batch = make_batch(random_targets())
    expected = 0.0
    for row, labels in zip(batch.student.logits, batch.targets, strict=True):
        for z, y in zip(row, labels, strict=True):
            soft = 0.95 if y else 0.05
            expected = expected - soft * F.logsigmoid(z) - (1 - soft) * F.logsigmoid(-z)
    torch.testing.assert_close(alone("bce", smoothing=0.1)(batch), expected)


@pytest.mark.parametrize(("label", "probability"), [(0.0, 0.05), (1.0, (0.9 * 20 + 0.05) / (0.9 * 20 + 0.1))])
def test_what_smoothing_adds_to_an_absent_label_has_no_weight(label, probability):
    """The loss is least at half of the smoothing, however rare the label; not above one half."""
    logits = torch.logit(torch.tensor([[probability]])).requires_grad_()
    batch = Batch(torch.tensor([[label]]), Outputs(logits), frequency=torch.tensor([0.001]))
    alone("bce", smoothing=0.1, positive_weight=1.0)(batch).backward()
    assert logits.grad is not None
    assert abs(logits.grad.item()) < 1e-5


@pytest.mark.parametrize("power", [0.3, 1.0])
def test_positives_are_weighted_by_the_odds_against_them(power):
    batch = make_batch(random_targets())
    counts = torch.tensor([500, 50, 100, 900, 1])
    weighted = Batch(batch.targets, batch.student, frequency=counts / 1000)
    _, weights = compute_class_weights(counts, 1000, method="neg_pos", power=power, max_weight=20)
    expected = 0.0
    for row, labels in zip(batch.student.logits, batch.targets, strict=True):
        for z, y, weight in zip(row, labels, weights, strict=True):
            expected = expected - (weight * F.logsigmoid(z) if y else F.logsigmoid(-z))
    torch.testing.assert_close(alone("bce", positive_weight=power)(weighted), expected)


def test_labels_of_all_and_of_no_images_have_finite_weights():
    batch = Batch(torch.tensor([[1.0, 1.0]]), Outputs(torch.zeros(1, 2)), frequency=torch.tensor([0.0, 1.0]))
    value = alone("bce", positive_weight=1.0)(batch)
    torch.testing.assert_close(value, (20 + 1 / 20) * torch.tensor(2.0).log())


def test_positive_weights_need_frequencies():
    batch = make_batch(random_targets())
    with pytest.raises(UsageError, match=r"bce\.positive_weight needs how often each label occurs"):
        alone("bce", positive_weight=1.0)(batch)


def test_without_options_bce_is_what_it_was_to_the_last_bit():
    batch = make_batch(random_targets(40, 30))
    labels = batch.targets.float()
    expected = F.binary_cross_entropy_with_logits(batch.student.logits, labels, reduction="sum")
    assert torch.equal(alone("bce")(Batch(batch.targets, batch.student, frequency=labels.mean(0))), expected)


def test_terms_that_take_soft_labels_do_more_than_round_them():
    for name, term in TERMS.items():
        if not term.soft_labels or any(need.startswith("student") for need in term.needs):
            continue
        batch = make_batch(random_targets())
        soft = Batch.of(batch.targets.float() * 0.7, batch.outputs(), 0.6)
        rounded = Batch.of(soft.targets.round(), batch.outputs(), 0.6)
        if term.uses_labels and name not in ("rkd_d", "rkd_a", "pkt", "twin_kl"):
            assert alone(name)(soft) != alone(name)(rounded), name
        assert alone(name)(soft).isfinite()
