from dataclasses import replace

import pytest
import torch
from batches import alone, make_batch, random_targets

from mlkdc.errors import UsageError
from mlkdc.losses import TERMS, Batch, Objective, Outputs, Term, make_objective
from mlkdc.recipe import Distill

EMBEDDINGS = {"student.embeddings", "teacher.embeddings"}


@pytest.mark.parametrize(
    ("method", "weights", "needs"),
    [
        ("vanilla", {"bce": 1}, set()),
        ("mld", {"bce": 1, "mld": 10}, {"teacher.logits"}),
        ("l2d", {"bce": 1, "mld": 10, "cd": 100, "id": 1000}, {"teacher.logits"} | EMBEDDINGS),
    ],
)
def test_methods_have_the_published_weights_and_need_only_what_their_terms_need(method, weights, needs):
    objective = make_objective(Distill(method=method))
    assert objective.weights == weights
    assert objective.needs == needs
    assert objective.needs_teacher == bool(needs)


def test_weights_override_the_method_and_zero_leaves_a_term_and_its_needs_out():
    objective = make_objective(Distill(method="l2d", terms={"mld": 0, "cd": 7, "id": 0}))
    assert objective.weights == {"bce": 1, "cd": 7}
    assert objective.needs == EMBEDDINGS
    objective = make_objective(Distill(method="l2d", terms={"cd": 0, "id": 0, "mld": 0}))
    assert objective.weights == {"bce": 1}
    assert not objective.needs_teacher


def test_weights_add_terms_that_the_method_does_not_have():
    objective = make_objective(Distill(method="vanilla", terms={"mld": 2.5}))
    assert objective.weights == {"bce": 1, "mld": 2.5}
    assert objective.needs_teacher


@pytest.mark.parametrize("turn", [1, -1])
def test_held_terms_are_in_the_order_of_the_recipe_in_every_process(turn):
    """Layers, their first weights and what processes send each other are in this order."""
    held = ["cd", "bd3", "id", "hint", "mulsupcon", "rkd_d"][::turn]
    objective = make_objective(Distill(method="vanilla", balance=dict.fromkeys(held, 0.1)))
    assert list(objective.terms) == [*held, "bce"]


@pytest.mark.parametrize("form", ["reference", "paper"])
def test_values_are_weighted_and_of_the_form_in_the_recipe(form):
    batch = make_batch(random_targets())
    weights = {"bce": 2.0, "mld": 3.0, "cd": 5.0, "id": 7.0}
    values = make_objective(Distill(method="l2d", terms=weights, form=form))(replace(batch, progress=0.5))
    for name, weight in weights.items():
        plain = Objective({name: TERMS.get(name)(form)}, {name: 1.0})(batch)[name]
        torch.testing.assert_close(values[name], weight * plain)
    assert set(values) == set(weights)


def test_bce_forms_differ_by_the_batch_size():
    batch = make_batch(random_targets(images=6))
    summed, averaged = (make_objective(Distill(form=form))(batch)["bce"] for form in ("reference", "paper"))
    torch.testing.assert_close(summed, 6 * averaged)


@pytest.mark.parametrize(("progress", "fraction"), [(0.0, 0.0), (0.1, 0.25), (0.4, 1.0), (0.9, 1.0)])
def test_the_ramp_raises_relation_terms_only(progress, fraction):
    batch = make_batch(random_targets())
    full = make_objective(Distill(method="l2d"))(replace(batch, progress=progress))
    ramped = make_objective(Distill(method="l2d", ramp=0.4))(replace(batch, progress=progress))
    for name, factor in {"bce": 1, "mld": 1, "cd": fraction, "id": fraction}.items():
        torch.testing.assert_close(ramped[name], factor * full[name])


def test_all_faults_are_reported_at_once_with_the_nearest_names():
    spec = Distill(method="l2dd", terms={"mldd": 1, "bcee": 1, "cd": -1, "mld": 2})
    with pytest.raises(UsageError) as caught:
        make_objective(spec)
    message = str(caught.value)
    assert "4 faults" in message
    assert "distill.method: unknown method 'l2dd'; did you mean l2d" in message
    assert "distill.terms.mldd: unknown loss term; did you mean mld" in message
    assert "distill.terms.bcee: unknown loss term; did you mean bce" in message
    assert "distill.terms.cd: expected a weight of 0 or more, got -1.0" in message
    assert "distill.terms.mld:" not in message


def test_no_term_left_is_an_error():
    with pytest.raises(UsageError, match="every term has weight 0"):
        make_objective(Distill(method="vanilla", terms={"bce": 0}))


def test_an_output_that_no_model_gives_is_named():
    targets = random_targets()
    logits = Outputs(torch.zeros(targets.shape))
    with pytest.raises(UsageError, match=r"'cd' needs student\.embeddings.*distill\.terms\.cd: 0"):
        make_objective(Distill(method="l2d"))(Batch(targets, logits, logits))
    with pytest.raises(UsageError, match=r"'mld' needs teacher\.logits"):
        make_objective(Distill(method="mld"))(Batch(targets, logits))


def test_vanilla_needs_no_teacher_in_the_batch():
    targets = random_targets()
    values = make_objective(Distill())(Batch(targets, Outputs(torch.zeros(targets.shape))))
    torch.testing.assert_close(values["bce"], targets.numel() * torch.tensor(2.0).log())


class _Product(Term):
    """A matrix product: autocast would round it to half precision."""

    def compute(self, batch):
        return (batch.student.logits @ batch.student.logits.T).sum()


def test_terms_run_outside_autocast():
    batch = make_batch(random_targets())
    objective = Objective({"product": _Product()}, {"product": 1.0})
    with torch.autocast("cpu", torch.bfloat16):
        value = objective(batch)["product"]
    assert value.dtype == torch.float32
    assert torch.equal(value, objective(batch)["product"])


def test_terms_of_several_papers_add_up():
    weights = {"mld": 10.0, "cd": 100.0, "id": 1000.0, "bd2": 1.0, "id4": 2.0, "mbd": 3.0}
    objective = make_objective(Distill(terms=weights))
    assert objective.weights == {"bce": 1, **weights}
    assert objective.needs == {"teacher.logits"} | EMBEDDINGS
    batch = make_batch(random_targets())
    values = objective(batch)
    for name, weight in weights.items():
        torch.testing.assert_close(values[name], weight * alone(name)(batch))


def test_a_method_comes_in_the_form_its_weights_belong_to():
    batch = make_batch(random_targets(images=6))
    forms = {form: make_objective(Distill(method="mdkd", form=form))(batch)["bce"] for form in (None, "reference")}
    torch.testing.assert_close(6 * forms[None], forms["reference"])


def test_a_term_that_has_only_another_form_takes_it():
    class Only(_Product):
        forms = ("paper",)

    assert Only("reference").form == "paper"


def test_what_is_shared_is_computed_once_for_a_batch():
    batch, calls = make_batch(random_targets()), []

    def moments(argument):
        calls.append(argument)
        return len(calls)

    assert batch.once(moments) == batch.once(moments) == 1
    assert replace(batch, progress=1.0).once(moments) == 2
