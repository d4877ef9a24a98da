"""Shares of the gradient: measured as by hand, and held by adapting weights."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from two_processes import PROCESSES, answers_of

from mlkdc.losses import Batch, Objective, Outputs, make_objective
from mlkdc.losses.balance import BOUNDS, LARGEST_CHANGE, Balance, Norms, gradient_norms
from mlkdc.losses.term import Term
from mlkdc.recipe import Distill

WEIGHTS = {"mld": 10.0, "rkd_d": 25.0, "mse": 0.3}


class Tiny(nn.Module):
    """A map of features, and logits and pooled features from it."""

    def __init__(self, labels=4):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, labels)

    def forward(self, images):
        features = self.body(images).relu()
        pooled = features.mean((2, 3))
        return features, Outputs(self.head(pooled), pooled=pooled)


def drawn(images=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(images, 3, 6, 6, generator=generator)
    targets = (torch.rand(images, 4, generator=generator) < 0.5).float()
    teacher = Outputs(torch.randn(images, 4, generator=generator), pooled=torch.randn(images, 5, generator=generator))
    return pixels, targets, teacher


def objective(**distill):
    return make_objective(Distill(terms=WEIGHTS, **distill))


def test_norms_are_those_of_each_weighted_term_alone():
    pixels, targets, teacher = drawn()
    features, student = Tiny()(pixels)
    terms = objective()(Batch(targets, student, teacher))
    norms = gradient_norms(terms, student.logits, features)
    assert list(norms) == ["bce", *WEIGHTS]
    for name, weight in {"bce": 1.0, **WEIGHTS}.items():
        again, alone = Tiny()(pixels)
        again.retain_grad()
        alone.logits.retain_grad()
        Objective({name: objective().terms[name]}, {name: weight})(Batch(targets, alone, teacher))[name].backward()
        assert norms[name].features == pytest.approx(float(again.grad.norm()), rel=1e-5)
        if name == "rkd_d":
            assert norms[name].logits is None
        else:
            assert norms[name].logits == pytest.approx(float(alone.logits.grad.norm()), rel=1e-5)
    # The graph is still there, and a scale on the way changes nothing.
    scaled = gradient_norms(terms, student.logits, features, scale=1024.0)
    assert scaled["mld"].features == pytest.approx(norms["mld"].features, rel=1e-6)
    torch.stack(list(terms.values())).sum().backward()


class _Constant(Term):
    uses_labels = False

    def compute(self, batch):
        return torch.tensor(2.0)


def test_a_term_without_gradient_has_norm_zero():
    pixels, targets, teacher = drawn()
    features, student = Tiny()(pixels)
    one = Objective({"constant": _Constant()}, {"constant": 1.0})
    norms = gradient_norms(one(Batch(targets, student, teacher)), student.logits, features)
    assert norms == {"constant": Norms(0.0, None)}


def test_means_of_an_epoch():
    balance = Balance(objective(), {}, steps=100)
    assert [step for step in range(12) if balance.due(step)] == [0, 5, 10]
    assert not Balance(make_objective(Distill()), {}, 100).due(0)
    assert Balance(objective(), {}, 5000).every == 50
    assert Balance(objective(), {}, 3).every == 1
    # At least twenty times.
    assert Balance(objective(), {}, 39).every == 1
    others = {"mld": Norms(0.0, None), "rkd_d": Norms(0.0, None)}
    balance.measured({"bce": Norms(3.0, 2.0), "mse": Norms(1.0, None), **others}, 0.0)
    balance.measured({"bce": Norms(1.0, 4.0), "mse": Norms(3.0, 1.0), **others}, 0.5)
    balance.measured({"bce": Norms(float("inf"), 4.0), "mse": Norms(3.0, 1.0), **others}, 0.5)
    balance.measured({"bce": Norms(0.0, None), "mse": Norms(0.0, None), **others}, 0.5)
    means = balance.means()
    assert (means["bce"].norm, means["bce"].share, means["bce"].logits_norm) == (2.0, 0.5, 3.0)
    assert (means["mse"].norm, means["mse"].share, means["mse"].logits_norm) == (2.0, 0.5, 1.0)
    assert means["rkd_d"].weight == 25
    assert objective().factors == dict.fromkeys(means, 1.0)
    balance.start()
    assert balance.means() == {}


def train(wanted, steps, ramp=0.0, resume_at=None):
    """The rows that were measured in every step of a small training, and the controller."""
    plain = objective(balance=wanted, ramp=ramp)
    model, balance = Tiny(), Balance(plain, wanted, 20)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    rows = []
    for step in range(steps):
        if step == resume_at:
            state = balance.state()
            plain = objective(balance=wanted, ramp=ramp)
            balance = Balance(plain, wanted, 20)
            balance.restore(state)
        pixels, targets, teacher = drawn(seed=step)
        features, student = model(pixels)
        terms = plain(Batch(targets, student, teacher, progress=step / steps))
        balance.start()
        balance.measured(gradient_norms(terms, student.logits, features), step / steps)
        rows.append(balance.means())
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    return rows, plain


def mean_share(rows, name):
    return sum(row[name].share for row in rows) / len(rows)


def test_wanted_shares_are_reached_and_other_weights_left_alone():
    wanted = {"mld": 0.5, "rkd_d": 0.2}
    rows, plain = train(wanted, 120)
    assert mean_share(rows[:1], "mld") < 0.4
    for name, share in wanted.items():
        assert mean_share(rows[60:], name) == pytest.approx(share, rel=0.1)
        assert rows[-1][name].weight != WEIGHTS[name]
    assert plain.factors["bce"] == plain.factors["mse"] == 1
    changes = [after["mld"].weight / before["mld"].weight for before, after in pairwise(rows)]
    assert max(changes) <= LARGEST_CHANGE * 1.001
    assert min(changes) >= 1 / LARGEST_CHANGE * 0.999


def test_a_ramp_holds_back_the_share_of_a_relational_term():
    rows, _ = train({"mld": 0.4, "rkd_d": 0.3}, 200, ramp=0.8)
    assert rows[0]["rkd_d"].share == 0
    assert mean_share(rows[70:90], "rkd_d") == pytest.approx(0.3 * 0.5, rel=0.15)
    assert mean_share(rows[70:90], "mld") == pytest.approx(0.4, rel=0.1)
    assert mean_share(rows[165:], "rkd_d") == pytest.approx(0.3, rel=0.1)


def test_a_resumed_controller_goes_on_as_if_it_had_not_stopped():
    complete, _ = train({"mld": 0.5, "rkd_d": 0.2}, 30)
    resumed, _ = train({"mld": 0.5, "rkd_d": 0.2}, 30, resume_at=13)
    assert complete == resumed


def test_a_large_norm_of_one_step_counts_by_its_logarithm():
    balance = Balance(objective(balance={"mld": 0.5}), {"mld": 0.5}, 20)
    for norm in (1.0, 3.0):
        others = {"rkd_d": Norms(0.0, None), "mse": Norms(0.0, None)}
        balance.measured({"bce": Norms(norm, norm), "mld": Norms(1.0, 1.0), **others}, 0.0)
    assert balance.objective.factors["mld"] == pytest.approx(3**0.3)


def test_a_term_that_cannot_be_moved_stays_within_bounds():
    balance = Balance(objective(balance={"mld": 0.5}), {"mld": 0.5}, 20)
    others = {"rkd_d": Norms(1.0, None), "mse": Norms(1.0, 1.0)}
    for _ in range(200):
        balance.measured({"bce": Norms(1.0, 1.0), "mld": Norms(1e-30, 1.0), **others}, 0.0)
    assert balance.objective.factors["mld"] == BOUNDS[1]
    before = dict(balance.objective.factors)
    fresh = Balance(objective(balance={"mld": 0.5}), {"mld": 0.5}, 20)
    fresh.measured({"bce": Norms(1.0, 1.0), "mld": Norms(0.0, None), **others}, 0.0)
    assert fresh.objective.factors["mld"] == 1
    assert before["bce"] == 1


def _process(rank, queue):
    pixels, targets, teacher = drawn()
    rows = slice(4 * rank, 4 * rank + 4)
    features, student = Tiny()(pixels[rows])
    part = Batch(targets[rows], student, teacher.map(lambda value: value[rows]))
    norms = gradient_norms(objective()(part), student.logits, features)
    queue.put({name: (norm.features, norm.logits) for name, norm in norms.items()})


@pytest.mark.slow
def test_two_processes_measure_what_one_does():
    pixels, targets, teacher = drawn()
    features, student = Tiny()(pixels)
    expected = gradient_norms(objective()(Batch(targets, student, teacher)), student.logits, features)
    with answers_of(_process) as queue:
        for _ in range(PROCESSES):
            found = queue.get()
            for name, norm in expected.items():
                assert found[name][0] == pytest.approx(norm.features, rel=1e-4), name
                assert found[name][1] == (norm.logits and pytest.approx(norm.logits, rel=1e-4)), name
