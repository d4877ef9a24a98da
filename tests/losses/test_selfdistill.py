"""The methods without a teacher: cases small enough to work out by hand."""

import math
from dataclasses import replace

import pytest
import test_processes as processes
import torch
import torch.distributed as dist
from batches import alone, exact, make_batch, make_term, random_targets
from torch import nn
from two_processes import PROCESSES, answers_of

from mlkdc.losses import Batch, Objective, Outputs, make_objective
from mlkdc.losses.common import LikeBCE
from mlkdc.losses.terms import uskd
from mlkdc.losses.terms.uskd import nontarget_labels, target_labels
from mlkdc.recipe import Distill

METHODS = {
    "tf-kd": ({"bce": 0.9, "tfkd": 0.1}, set()),
    "ps-kd": ({"pskd": 1}, {"last_epoch.logits"}),
    "dlb": ({"bce": 1, "dlb": 1}, {"last_batch.logits"}),
    "ddgsd": (
        {"bce": 1, "twin_bce": 1, "twin_kl": 1, "mmd": 0.0005},
        {"twin.logits", "twin.pooled", "student.pooled"},
    ),
    "uskd": ({"bce": 1, "uskd": 1}, {"student.stages"}),
    "mulsupcon": ({"bce": 1, "mulsupcon": 0.1}, {"student.pooled"}),
}
TERMS = sorted({name for weights, _ in METHODS.values() for name in weights} - {"bce"})


@pytest.mark.parametrize("method", METHODS)
def test_methods_have_their_weights_and_need_no_teacher(method):
    objective = make_objective(Distill(method=method))
    assert (objective.weights, objective.needs) == METHODS[method]
    assert not objective.needs_teacher


@pytest.mark.parametrize("name", [*TERMS, "bce"])
def test_forms_differ_by_the_batch_size_as_those_of_bce_do(name):
    batch = make_batch(random_targets(images=6))
    torch.testing.assert_close(alone(name, "reference")(batch), 6 * alone(name, "paper")(batch))


def test_a_term_like_bce_multiplies_its_mean_by_the_images():
    class Two(LikeBCE):
        def mean(self, batch):
            return torch.tensor(2.0)

    batch = Batch(torch.zeros(3, 1), Outputs(torch.zeros(3, 1)))
    assert (Two("reference").compute(batch), Two("paper").compute(batch)) == (6, 2)


def test_tfkd_is_zero_at_its_own_teacher_and_grows_on_both_sides_of_it():
    sure = math.log(0.9 / 0.1)
    targets = torch.tensor([[1, 0]])
    value = alone("tfkd", correct=0.9, temperature=4.0)
    at, below, above = (value(Batch(targets, Outputs(torch.tensor([[z, -z]])))) for z in (sure, sure - 1, sure + 1))
    torch.testing.assert_close(at, torch.tensor(0.0), rtol=0, atol=1e-6)
    assert below > 0.1
    assert above > 0.1


def test_tfkd_by_hand():
    """An undecided student, softened or not: KL = log 2 - entropy of the teacher."""
    p = 1 / (1 + (0.01 / 0.99) ** (1 / 20))
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    value = alone("tfkd")(Batch(torch.tensor([[1, 0, 0]]), Outputs(torch.zeros(1, 3, dtype=torch.float64))))
    assert value.item() == pytest.approx(3 * 400 * (math.log(2) - entropy), rel=1e-9)


def _remembering(last, progress=1.0, **student):
    logits = torch.tensor([[0.3, -1.2], [2.0, 0.1]])
    targets = torch.tensor([[1, 0], [0, 1]])
    last = Outputs(torch.tensor(last))
    return Batch(targets, Outputs(logits.requires_grad_()), last_epoch=last, last_batch=last, progress=progress)


@pytest.mark.parametrize("form", ["reference", "paper"])
@pytest.mark.parametrize(
    ("options", "progress", "last"),
    [
        ({"alpha": 0.0}, 1.0, [[1.0, 1.0], [1.0, 1.0]]),
        ({}, 0.0, [[1.0, 1.0], [1.0, 1.0]]),
        ({}, 1.0, [[math.nan] * 2] * 2),
    ],
)
def test_pskd_is_bce_without_alpha_at_the_start_and_for_images_not_seen_before(form, options, progress, last):
    batch = _remembering(last, progress)
    torch.testing.assert_close(alone("pskd", form, **options)(batch), alone("bce", form)(batch))


def test_pskd_mixes_predictions_of_the_seen_image_only():
    """Undecided predictions half through training: alpha 0.4 moves labels 1 and 0 to 0.8 and 0.2."""
    batch = _remembering([[0.0, 0.0], [math.nan, math.nan]], progress=0.5)
    loss = nn.BCEWithLogitsLoss(reduction="sum")
    expected = loss(batch.student.logits, torch.tensor([[0.8, 0.2], [0.0, 1.0]]))
    value = alone("pskd")(batch)
    torch.testing.assert_close(value, expected)
    value.backward()
    assert batch.student.logits.grad.isfinite().all()


def test_dlb_uses_repeated_images_only():
    batch = _remembering([[0.9, 0.0], [math.nan, math.nan]])
    value = alone("dlb", "paper")(batch)
    first = replace(batch, targets=batch.targets[:1], last_batch=Outputs(batch.last_batch.logits[:1]))
    first = replace(first, student=Outputs(batch.student.logits[:1]))
    torch.testing.assert_close(value, alone("dlb", "paper")(first))
    value.backward()
    assert batch.student.logits.grad[0].all()
    assert not batch.student.logits.grad[1].any()


def test_dlb_by_hand():
    """Odds 2 then, 1 now at temperature 3: 9 (2/3 log(4/3) + 1/3 log(2/3)) for each label."""
    then, now = torch.full((1, 2), 3 * math.log(2), dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    value = alone("dlb")(Batch(torch.ones(1, 2), Outputs(now), last_batch=Outputs(then)))
    assert value.item() == pytest.approx(2 * 9 * (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)), rel=1e-9)


def test_dlb_of_a_batch_without_a_repeated_image_is_zero():
    batch = _remembering([[math.nan] * 2] * 2)
    value = alone("dlb")(batch)
    value.backward()
    assert value.item() == 0
    assert not batch.student.logits.grad.any()


def test_equal_views_leave_only_the_cross_entropy():
    batch = make_batch(random_targets())
    same = replace(batch, twin=Outputs(batch.student.logits, pooled=batch.student.pooled))
    assert alone("twin_kl")(same) == alone("mmd")(same) == 0
    torch.testing.assert_close(alone("twin_bce")(same), alone("bce")(same))


def test_twin_kl_is_symmetric_and_teaches_both_views():
    batch = make_batch(random_targets())
    swapped = replace(batch, student=batch.twin, twin=batch.student)
    value = alone("twin_kl")(batch)
    torch.testing.assert_close(value, alone("twin_kl")(swapped))
    value.backward()
    assert (batch.student.logits.grad * batch.twin.logits.grad < 0).all()  # towards each other


def test_mmd_sees_means_of_the_batch_only():
    first, second = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[4.0, 3.0], [0.0, 5.0]])
    blank = torch.zeros(2, 1)
    views = {"student": Outputs(blank, pooled=first), "twin": Outputs(blank, pooled=second)}
    assert alone("mmd", "paper")(Batch(blank, **views)) == 4  # means (2, 2) and (2, 4)


def test_uskd_target_labels_by_hand():
    """Probabilities 0.8 and 0.6 of the true pairs: squares 0.64 and 0.36 about their mean 0.5, plus 1."""
    logits = torch.tensor([[0.8, 0.3, 0.1], [0.2, 0.6, 0.9]]).logit()
    labels = target_labels(logits, torch.tensor([[1, 0, 0], [0, 1, 0]]))
    torch.testing.assert_close(labels, torch.tensor([[1.14, 0, 0], [0, 0.86, 0]]))


def test_uskd_nontarget_labels_by_hand():
    """The second class is true. Ranks of the others: 2, 1, 3; Zipf 1/2, 1, 1/3, divided by 11/6."""
    strong, weak = torch.tensor([[1.0, 9.0, 1.5, 0.0]]), torch.tensor([[0.5, -9.0, 2.0, 0.0]])
    labels = nontarget_labels(strong, weak, torch.tensor([[0, 1, 0, 0]]))
    torch.testing.assert_close(labels, torch.tensor([[3 / 11, 0, 6 / 11, 2 / 11]]))


def test_uskd_ranks_by_both_stages():
    strong, weak = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    none = torch.zeros(1, 2)
    assert nontarget_labels(strong, torch.zeros(1, 2), none)[0].argmax() == 0
    assert nontarget_labels(strong, weak, none)[0].argmax() == 1


def test_uskd_labels_sum_as_the_paper_says():
    batch = make_batch(random_targets(7, 6, density=0.4))
    assert batch.targets.any()
    true = target_labels(batch.student.logits, batch.targets)
    torch.testing.assert_close(true.sum(), batch.targets.sum().float())
    others = nontarget_labels(batch.student.logits, batch.teacher.logits, batch.targets)
    torch.testing.assert_close(others.sum(dim=1), torch.ones(7))
    assert not others[batch.targets > 0].any()


def test_uskd_keeps_the_order_of_classes_whose_probabilities_round_to_zero():
    strong = torch.tensor([[500.0, -300.0, -200.0, -400.0]])
    labels = nontarget_labels(strong, strong, torch.zeros(1, 4))
    assert labels[0].argsort(descending=True).tolist() == [0, 2, 1, 3]


def test_uskd_gradient_is_that_of_a_loss_with_fixed_labels(monkeypatch):
    """What a general gradient check cannot see, as the labels come from the logits and carry no gradient."""
    batch = make_batch(random_targets(4, 3), dtype=torch.float64)
    term = make_term("uskd", batch=batch, mu=0.5)
    fixed = target_labels(batch.student.logits, batch.targets).detach()
    others = nontarget_labels(batch.student.logits, batch.student.logits, batch.targets).detach()
    monkeypatch.setattr(uskd, "target_labels", lambda *_: fixed)
    monkeypatch.setattr(uskd, "nontarget_labels", lambda *_: others)

    def value(logits, stage):
        return term.compute(replace(batch, student=Outputs(logits, stages=(stage, stage.detach()))))

    assert torch.autograd.gradcheck(value, (batch.student.logits, batch.student.stages[1]))


def test_uskd_takes_the_only_stage_there_is():
    batch = make_batch(random_targets())
    single = replace(batch, student=replace(batch.student, stages=batch.student.stages[1:2]))
    torch.testing.assert_close(alone("uskd")(single), alone("uskd")(batch))


def _uskd_layer_gradient(batch):
    """Value and the gradient that reaches the term's layer."""
    term = make_term("uskd", batch=batch)
    value = Objective({"uskd": term}, {"uskd": 1.0})(batch)["uskd"]
    value.backward()
    return value.item(), term.layers.weight.grad


def _uskd_process(rank, queue):
    full = make_batch(processes.TARGETS, dtype=torch.float64)
    part = processes._rows(full, slice(0, 3) if rank == 0 else slice(3, len(processes.TARGETS)))
    value, gradient = _uskd_layer_gradient(part)
    dist.all_reduce(gradient)
    queue.put((value, (gradient / 2).tolist()))


def test_uskd_is_unchanged_by_an_uneven_split_over_processes():
    expected, gradient = _uskd_layer_gradient(make_batch(processes.TARGETS, dtype=torch.float64))
    with answers_of(_uskd_process) as queue:
        for _ in range(PROCESSES):
            value, actual = queue.get()
            assert value == pytest.approx(expected, rel=1e-12)
            torch.testing.assert_close(torch.tensor(actual, dtype=torch.float64), gradient)


def _contrast(pooled, targets, **options):
    """The term on projected features given as they are."""
    pooled = torch.tensor(pooled, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor(targets)
    batch = Batch(targets, Outputs(torch.zeros(targets.shape), pooled=pooled))
    term = make_term("mulsupcon", "paper", batch, **options)
    term.layers = nn.Identity()
    return term.compute(batch), pooled


def test_mulsupcon_by_hand():
    """At 0, 90 and 180 degrees, temperature 1. Label 0 is on images 0 and 1, label 1 on 1 and 2, label 2 on 0.

    The four (image, label) with another image: 0 with 1 among cosines (0, -1), 1 with 0 and 1 with 2 among (0, 0),
    2 with 1 among (0, -1).
    """
    value, _ = _contrast([[2.0, 0.0], [0.0, 1.0], [-3.0, 0.0]], [[1, 0, 1], [1, 1, 0], [0, 1, 0]], temperature=1.0)
    expected = (2 * math.log(1 + math.exp(-1)) + 2 * math.log(2)) / 4
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_mulsupcon_projects_through_a_hidden_layer_to_128_dimensions():
    pooled = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    term = make_term("mulsupcon", batch=Batch(torch.ones(3, 2), Outputs(torch.zeros(3, 2), pooled=pooled)))
    first, second = (layer for layer in term.layers if isinstance(layer, nn.Linear))
    assert (first.out_features, second.out_features) == (5, 128)
    hidden = (pooled @ first.weight.T + first.bias).clamp(min=0)
    assert (hidden == 0).any()
    torch.testing.assert_close(term.layers(pooled), hidden @ second.weight.T + second.bias)


def test_mulsupcon_falls_when_images_that_share_a_label_come_closer():
    def at(degrees):
        angles = [math.radians(turn) for turn in (0, degrees, 120, 240)]
        pooled = [[math.cos(angle), math.sin(angle)] for angle in angles]
        return _contrast(pooled, [[1, 0], [1, 0], [0, 1], [0, 0]])[0].item()

    values = [at(degrees) for degrees in (90, 60, 30, 10)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 0.1


@pytest.mark.parametrize("targets", [[[0, 0], [0, 0], [0, 0]], [[1, 0], [0, 1], [0, 0]]])
def test_mulsupcon_without_a_shared_label_is_zero(targets):
    value, pooled = _contrast([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], targets)
    value.backward()
    assert value.item() == 0
    assert not pooled.grad.any()


def test_mulsupcon_is_a_mean_over_labels():
    """Two labels on the same images are twice as many anchors, of the same loss."""
    pooled = [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]
    single, _ = _contrast(pooled, [[1], [1], [0]])
    double, _ = _contrast(pooled, [[1, 1], [1, 1], [0, 0]])
    torch.testing.assert_close(single, double)


@pytest.mark.parametrize("name", TERMS)
def test_terms_start_with_finite_gradients_for_their_layers(name):
    batch = exact(make_batch(random_targets()))
    term = make_term(name, batch=batch)
    term.compute(batch).backward()
    if term.layers is not None:
        assert all(weight.grad.isfinite().all() and weight.grad.any() for weight in term.layers.parameters())
