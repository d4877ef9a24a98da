"""MSKD and uncertainty distillation: small cases worked out by hand."""

from dataclasses import replace
from math import log, sqrt

import pytest
import torch
from batches import alone, make_batch, make_term, random_targets
from torch.nn import functional as F

from mlkdc.errors import UsageError
from mlkdc.losses import Batch, Outputs, make_objective
from mlkdc.losses.balanced import reformulated_softmax
from mlkdc.recipe import Distill

# Softmax over labels 0 and 2: 1/4, 3/4; over 1 and 2: 2/5, 3/5.
LOGITS = torch.tensor([[1.0, 2.0, 3.0]]).log()
TARGETS = torch.tensor([[1, 1, 0]])


def _taught(student, teacher, targets):
    return Batch(torch.tensor(targets), Outputs(student.requires_grad_()), Outputs(teacher))


@pytest.mark.parametrize(
    ("method", "weights", "needs"),
    [
        # Figure 4.
        (
            "mskd",
            {"bce": 1, "lsd": 1.5, "rsd": 2, "ssd": 2},
            {"student.regions", "patches.logits", "previous.logits"},
        ),
        # L2D's weight of its logit term.
        ("ps", {"bce": 1, "ps": 10}, {"teacher.logits"}),
        ("ud", {"bce": 1, "ud": 10}, {"samples.logits"}),
    ],
)
def test_methods_have_the_published_weights(method, weights, needs):
    objective = make_objective(Distill(method=method))
    assert (objective.weights, objective.needs) == (weights, needs)


def test_the_printed_loss_is_a_sum_and_no_reference():
    """Its authors' code does not run; what the form was called before is answered with its new name."""
    printed, paper = (make_objective(Distill(method="mskd", form=form)) for form in (None, "paper"))
    assert {name: term.form for name, term in printed.terms.items()} == {
        "bce": "reference",
        "lsd": "printed",
        "rsd": "printed",
        "ssd": "printed",
    }
    assert {term.form for term in paper.terms.values()} == {"paper"}
    assert {name: term.batch_degree for name, term in printed.terms.items()} == {"bce": 1, "lsd": 0, "rsd": 1, "ssd": 1}
    assert {name: term.batch_degree for name, term in paper.terms.items()} == {"bce": 0, "lsd": -1, "rsd": 0, "ssd": 0}
    batch = make_batch(random_targets(images=6))
    for name, value in printed(batch).items():
        torch.testing.assert_close(value, 6 * paper(batch)[name])
    with pytest.raises(UsageError, match=r"distill\.form: expected printed .*the authors' code of mskd does not run"):
        make_objective(Distill(method="mskd", form="reference"))


def test_terms_of_mskd_are_sums_next_to_the_sums_of_another_method():
    terms = make_objective(Distill(method="l2d", terms={"mbd": 1, "lsd": 1}, form="reference")).terms
    assert {name: (term.form, term.batch_degree) for name, term in terms.items() if name in ("bce", "mbd", "lsd")} == {
        "bce": ("reference", 1),
        "mbd": ("printed", 1),
        "lsd": ("printed", 0),
    }


def test_reformulated_softmax_by_hand():
    probabilities = reformulated_softmax(LOGITS, TARGETS.bool()).exp()
    torch.testing.assert_close(probabilities, torch.tensor([[1 / 8, 1 / 5, 3 / 8 + 3 / 10]]))


@pytest.mark.parametrize("size", [1.0, 50.0, 1e4])
def test_reformulated_softmax_sums_to_1(size):
    positive = random_targets(40, 9, density=0.3).bool()
    positive[0] = True  # no negative at all
    positive[~positive.any(1), 0] = True
    logits = size * torch.randn(positive.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    probabilities = reformulated_softmax(logits, positive).exp()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(probabilities[0], torch.full((9,), 1 / 9, dtype=torch.float64))


def test_mbd_without_weights_is_the_kl_divergence_of_reformulated_softmaxes():
    targets = random_targets(5, 6)
    targets[:, 0] = 1
    batch = make_batch(targets, dtype=torch.float64)
    value = alone("mbd", gamma_positive=0.0, gamma_negative=0.0, temperature=2.0)(batch)
    log_p, log_q = (reformulated_softmax(side.logits / 2, targets.bool()) for side in (batch.teacher, batch.student))
    torch.testing.assert_close(value, 4 * F.kl_div(log_q, log_p, reduction="sum", log_target=True))


def _mbd_by_hand(logits, q_in_weights=None):
    """One positive, one negative, teacher undecided: 1/2, 1/2; temperature 1."""
    q = logits.softmax(0)
    inside = q if q_in_weights is None else q_in_weights
    weights = torch.stack([(0.5 + 0.25 - inside[0]).abs() ** 0.25, (0.25 - inside[1]).abs()])
    return (weights * 0.5 * (log(0.5) - q.log())).sum()


@pytest.mark.parametrize("detached", [False, True])
def test_mbd_gradient_with_and_without_that_of_the_weights(detached):
    logits = torch.tensor([0.3, -0.4], dtype=torch.float64)
    batch = _taught(logits[None].clone(), torch.zeros(1, 2, dtype=torch.float64), [[1, 0]])
    plain = logits.clone().requires_grad_()
    expected = _mbd_by_hand(plain, logits.softmax(0) if detached else None)
    value = alone("mbd", temperature=1.0, detach_weights=detached)(batch)
    value.backward()
    expected.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(batch.student.logits.grad[0], plain.grad)


def test_mbd_gradient_is_finite_at_and_next_to_a_weight_of_zero():
    """The teacher gives the positive 1/2, the student 3/4: 1/2 + 1/4 - 3/4 = 0."""
    for offset in (0, 1e-7, 1e-6, 1e-5, -1e-7, -1e-6, -1e-5):
        batch = _taught(torch.tensor([[log(3) + offset, 0.0]]), torch.zeros(1, 2), [[1, 0]])
        alone("mbd", temperature=1.0)(batch).backward()
        assert batch.student.logits.grad.abs().max() < 1e4


@pytest.mark.parametrize("name", ["mbd", "ssd"])
def test_balanced_distillation_from_the_student_itself_is_zero(name):
    batch = make_batch(random_targets())
    same = Outputs(batch.student.logits.detach().clone())
    assert alone(name)(replace(batch, teacher=same, previous=same)) == 0


@pytest.mark.parametrize("name", ["mbd", "ssd", "rsd", "ps"])
def test_images_without_a_positive_add_nothing(name):
    empty = make_batch(torch.zeros(3, 4))
    value = alone(name)(empty)
    value.backward()
    assert value == 0
    assert not empty.student.logits.grad.any()


def _rebuilt(patches, full, targets, **options):
    batch = Batch(torch.tensor(targets), Outputs(torch.tensor(full)), patches=Outputs(torch.tensor(patches)))
    return make_term("rsd", **options)._rebuilt(batch)


def test_pseudo_labels_by_hand():
    """Two positive labels in the batch: the two largest differences are 7 and 3, the two smallest -6 and -2."""
    patches = [[[3.0, 1.0], [-1.0, 0.0]], [[12.0, 0.0], [5.0, -1.0]]]
    full = [[0.0, 0.0], [5.0, 5.0]]
    expected = torch.tensor([[2 / 2, 1 / 2], [(12 + 5) / 2, -1 / 2]], dtype=torch.float64)

    weights = torch.tensor([1.0, 0.0], dtype=torch.float64).softmax(0)
    expected[0, 0] = weights[0] * 3 - weights[1]
    expected[1, 0] = weights[0] * 12 + weights[1] * 5
    torch.testing.assert_close(_rebuilt(patches, full, [[1, 0], [0, 1]], rounds=0), expected)
    # One round between two patches gives both the same mark.
    means = torch.tensor([[1.0, 0.5], [8.5, -0.5]], dtype=torch.float64)
    torch.testing.assert_close(_rebuilt(patches, full, [[1, 0], [0, 1]], rounds=1), means)


def test_one_round_of_propagation_by_hand():
    """Patches at 0, 1, 4: edges 1/4, 1, 3/4 and 1 to itself, degrees 9/4, 2, 11/4; marks -1, 0, 1."""
    far = 1 / sqrt(9 / 4 * 11 / 4)
    marks = torch.tensor([far - 4 / 9, 0.75 / sqrt(2 * 11 / 4) - 0.25 / sqrt(9 / 4 * 2), 4 / 11 - far]).double()
    expected = marks.softmax(0) @ torch.tensor([0.0, 1.0, 4.0]).double()
    torch.testing.assert_close(_rebuilt([[[0.0], [1.0], [4.0]]], [[0.0]], [[1]], rounds=1)[0, 0], expected)


def test_tied_and_too_many_pseudo_labels_leave_the_mean():
    patches = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(0))
    every = torch.ones(2, 3)
    batch = Batch(every, Outputs(torch.zeros(2, 3)), patches=Outputs(patches))
    torch.testing.assert_close(make_term("rsd")._rebuilt(batch), patches[:, 0].double())
    # All differences equal: all are among the largest and among the smallest.
    same = Batch(every, Outputs(torch.zeros(2, 3)), patches=Outputs(torch.full((2, 4, 3), 0.5)))
    torch.testing.assert_close(make_term("rsd")._rebuilt(same), torch.full((2, 3), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("rounds", [-1, 1.5])
def test_rounds_of_propagation_are_counted(rounds):
    with pytest.raises(UsageError, match=r"distill\.options\.rsd\.rounds: expected a whole number of at least 0, got"):
        make_objective(Distill(method="mskd", options={"rsd": {"rounds": rounds}}))


def test_lsd_does_not_see_scale_or_shift_of_all_logits():
    batch = make_batch(random_targets(), dtype=torch.float64)
    regions = (3 * batch.patches.logits.detach() + 1).requires_grad_()
    value = alone("lsd")(replace(batch, student=replace(batch.student, regions=regions)))
    torch.testing.assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-12)


@pytest.mark.parametrize("images", [1, 4])
def test_lsd_of_equal_regions_is_finite(images):
    batch = make_batch(random_targets(images, 3))
    regions = torch.ones(images, 3, 3)
    regions[-1, :2] = 2  # some distances are zero, others not
    same = replace(batch, student=replace(batch.student, regions=regions.requires_grad_()))
    value = alone("lsd")(same)
    value.backward()
    assert value.isfinite()
    assert regions.grad.isfinite().all()
    flat = replace(batch, student=replace(batch.student, regions=torch.ones(images, 3, 3).requires_grad_()))
    alone("lsd")(flat).backward()
    assert not flat.student.regions.grad.any()


def test_partial_softmax_by_hand():
    """Two images, the second without a positive; the student is undecided everywhere."""
    first = 0.25 * log(0.25 / 0.5) + 0.75 * log(0.75 / 0.5)
    second = 0.4 * log(0.4 / 0.5) + 0.6 * log(0.6 / 0.5)
    batch = _taught(torch.zeros(2, 3), LOGITS.repeat(2, 1), [[1, 1, 0], [0, 0, 0]])
    torch.testing.assert_close(alone("ps")(batch), torch.tensor((first + second) / 2 / 2))
    torch.testing.assert_close(alone("ps", normalized=False)(batch), torch.tensor((first + second) / 2))
    hot = _taught(torch.zeros(2, 3), 2 * LOGITS.repeat(2, 1), [[1, 1, 0], [0, 0, 0]])
    torch.testing.assert_close(alone("ps", temperature=2.0)(hot), torch.tensor(4 * (first + second) / 2 / 2))


def test_uncertainty_weights_the_labels_the_draws_disagree_on():
    """Draws of 0.9 and 0.1 are a coin, one bit; draws of 1 and 1 leave the label to BCE."""
    draws = torch.tensor([[[log(9.0), 40.0], [-log(9.0), 40.0]]])
    batch = Batch(torch.zeros(1, 2), Outputs(torch.tensor([[log(3.0), -2.0]])), samples=Outputs(draws))
    expected = 0.5 * log(0.5 / 0.75) + 0.5 * log(0.5 / 0.25)
    torch.testing.assert_close(alone("ud")(batch), torch.tensor(expected))


@pytest.mark.parametrize("name", ["mbd", "ssd", "rsd"])
def test_the_plain_softmax_of_table_3(name):
    batch = make_batch(random_targets(), dtype=torch.float64)
    value = alone(name, temperature=2, softmax=True)(batch)
    if name == "rsd":
        assert value > 0
        return
    teacher = (batch.teacher if name == "mbd" else batch.previous).logits.detach()
    p, q = (teacher / 2).softmax(1), (batch.student.logits / 2).softmax(1)
    torch.testing.assert_close(value, 4 * (p * (p / q).log()).sum())
