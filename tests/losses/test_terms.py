"""What every loss term must hold to. New terms are found by their registration and need only an oracle."""

from dataclasses import replace

import pytest
import torch
from batches import (
    alone,
    exact,
    fields,
    gradients,
    make_batch,
    make_term,
    needed,
    random_targets,
    same_outputs,
    with_fields,
)
from oracles import ORACLES

from mlkdc.losses import TERMS, Batch, Outputs
from mlkdc.losses.batch import LEARNED, SOURCE_FIELDS

TERM_NAMES = TERMS.names()
TAUGHT = [name for name, term in TERMS.items() if any(need.startswith("teacher.") for need in term.needs)]
# Trained layers stand between what these compare.
NEVER_ZERO = {"reviewkd", "hint"}
# A divergence with unequal weights of the labels is 0 at equal probabilities, but not least there.
NOT_LEAST = {"mbd"}

# Over the other images of a label, or a logarithm of a sum over images: not twice as many in a batch twice.
NO_POWER_OF_THE_BATCH = {("cd", "reference")} | {
    (name, form) for name in ("mulsupcon", "two-way") for form in TERMS.get(name).forms
}

FORMS = [(name, form) for name, term in TERMS.items() for form in term.forms]
every_term = pytest.mark.parametrize(("name", "form"), FORMS)


def _without_positive_in_an_image():
    targets = random_targets()
    targets[1] = 0
    return targets


def _without_positive_in_a_class():
    targets = random_targets()
    targets[:, 2] = 0
    return targets


TARGETS = {
    "usual": random_targets(),
    "sparse": random_targets(9, 7, density=0.2, seed=3),
    "an image without a positive": _without_positive_in_an_image(),
    "a class without a positive": _without_positive_in_a_class(),
    "no positive at all": torch.zeros(4, 3, dtype=torch.uint8),
    "a single positive": torch.tensor([[0, 0], [0, 1], [0, 0]], dtype=torch.uint8),
    "one positive in each class and image": torch.eye(4, dtype=torch.uint8),
    "all labels positive": torch.ones(4, 5, dtype=torch.uint8),
    "one image": torch.tensor([[1, 0, 1, 1]], dtype=torch.uint8),
    "one class": torch.tensor([[1], [0], [1], [1]], dtype=torch.uint8),
}
every_case = pytest.mark.parametrize("case", TARGETS)


def test_every_term_has_an_oracle():
    assert set(TERM_NAMES) == set(ORACLES)


def _oracle(name, form, batch):
    """The slow loop's value for the batch in float64."""
    term = make_term(name, form, batch)
    if term.layers is not None:
        term.layers.double()
    value = ORACLES[name](batch, form, term)
    return value if isinstance(value, torch.Tensor) else torch.tensor(float(value), dtype=torch.float64)


def _same_value_and_gradient(name, form, batch, tolerance=1e-5):
    """The term against its oracle, gradient included; the gradient in units of its largest entry."""
    slow = exact(batch)
    value, expected = alone(name, form)(batch), _oracle(name, form, slow)
    assert value.shape == ()
    torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=1e-12)
    if expected.requires_grad:
        value.backward()
        expected.backward()
    actual = gradients(batch, LEARNED)
    for place, gradient in gradients(slow, LEARNED).items():
        largest = max(gradient.abs().max(), 1e-9) if gradient.numel() else 1
        torch.testing.assert_close(actual[place].double() / largest, gradient / largest, rtol=0, atol=tolerance)


@every_term
@every_case
def test_equals_the_slow_loop(name, form, case):
    _same_value_and_gradient(name, form, make_batch(TARGETS[case]))


@every_term
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_takes_targets_of_any_dtype(name, form, dtype):
    batch = make_batch(TARGETS["usual"])
    value = alone(name, form)(replace(batch, targets=batch.targets.to(dtype)))
    torch.testing.assert_close(value, alone(name, form)(batch))


@every_term
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_computes_half_precision_inputs_in_float32(name, form, dtype):
    batch = make_batch(TARGETS["usual"], dtype=dtype)
    value = alone(name, form)(batch)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), _oracle(name, form, exact(batch)), rtol=1e-5, atol=0)
    value.backward()
    for gradient in gradients(batch, LEARNED).values():
        assert gradient.dtype == dtype
        assert gradient.isfinite().all()


@every_term
def test_autocast_changes_nothing(name, form):
    batch = make_batch(TARGETS["usual"])
    with torch.autocast("cpu", torch.bfloat16):
        value = alone(name, form)(batch)
    assert torch.equal(value, alone(name, form)(batch))


@pytest.mark.parametrize(("name", "form"), [pair for pair in FORMS if pair[0] in set(TAUGHT) - NEVER_ZERO])
@every_case
def test_zero_when_the_student_equals_the_teacher(name, form, case):
    batch = same_outputs(make_batch(TARGETS[case]))
    value = alone(name, form)(batch)
    torch.testing.assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-9)
    if value.requires_grad and name not in NOT_LEAST:
        value.backward()
    for gradient in gradients(batch, LEARNED).values():
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-6)


@every_term
@pytest.mark.parametrize("size", [50.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_finite_at_extreme_outputs(name, form, size, dtype):
    drawn = make_batch(TARGETS["usual"], dtype=dtype)
    batch = drawn.map(lambda _, side: side.map(lambda value: (size * value.detach().sign()).requires_grad_()))
    value = alone(name, form)(batch)
    value.backward()
    assert value.isfinite()
    for gradient in gradients(batch, LEARNED).values():
        assert gradient.isfinite().all()


@every_term
@pytest.mark.parametrize("case", ["usual", "a class without a positive", "one image"])
@pytest.mark.parametrize("side", ["student", "teacher", "both"])
def test_equal_vectors_leave_value_and_gradient_finite(name, form, case, side):
    """Embeddings or pooled features that are all the same: every distance is 0."""
    batch = make_batch(TARGETS[case])
    for outputs in (batch.student, batch.teacher) if side == "both" else (getattr(batch, side),):
        with torch.no_grad():
            outputs.embeddings.fill_(0.75)
            outputs.pooled.fill_(0.75)
    _same_value_and_gradient(name, form, batch)


@every_term
def test_gradient_reaches_the_student_and_nothing_else(name, form):
    batch = make_batch(random_targets(labels=7))
    alone(name, form)(batch).backward()
    arrived = {place[:2] for place, value in fields(batch, SOURCE_FIELDS).items() if value.grad is not None}
    assert arrived
    assert arrived <= needed(name)
    assert any(gradients(batch)[place].any() for place in fields(batch, LEARNED))


# Its labels come from the student's learned logits and are held fixed, which finite differences cannot know;
# test_selfdistill.py checks its gradient with the labels held fixed.
OWN_LABELS = {"uskd"}
# timm's classes compute in float32, too coarse for finite differences; their gradients are compared with slow loops.
IN_FLOAT32 = {"two-way", "zlpr"}


@pytest.mark.parametrize(("name", "form"), [pair for pair in FORMS if pair[0] not in OWN_LABELS | IN_FLOAT32])
def test_gradcheck(name, form):
    batch = make_batch(random_targets(4, 3), dtype=torch.float64)
    learned = {place: value for place, value in fields(batch).items() if place[:2] in needed(name)}
    term = make_term(name, form, batch)

    def value(*tensors):
        return term.compute(with_fields(detached, dict(zip(learned, tensors, strict=True))))

    detached = batch.map(lambda _, outputs: outputs.detach())
    assert torch.autograd.gradcheck(value, tuple(learned.values()))


@every_term
def test_unchanged_by_the_order_of_the_batch(name, form):
    batch = make_batch(random_targets(8, 6, density=0.3), dtype=torch.float64)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    place = torch.full(batch.targets.shape, -1)
    place[batch.targets > 0] = torch.arange(int(batch.targets.sum()))
    packed = place[order][batch.targets[order] > 0]
    assert not torch.equal(packed, packed.sort().values)

    def shuffle(_, outputs):
        rows = replace(outputs, embeddings=None).map(lambda value: value[order])
        return rows if outputs.embeddings is None else replace(rows, embeddings=outputs.embeddings[packed])

    shuffled = replace(batch.map(shuffle), targets=batch.targets[order])
    tolerance = 1e-6 if name in IN_FLOAT32 else 1e-12
    torch.testing.assert_close(alone(name, form)(shuffled), alone(name, form)(batch), rtol=tolerance, atol=0)


@pytest.mark.parametrize(("name", "form"), [pair for pair in FORMS if pair not in NO_POWER_OF_THE_BATCH])
def test_a_batch_twice_grows_as_the_term_says(name, form):
    batch = exact(make_batch(random_targets(7, 7)))
    twice = batch.map(lambda _, outputs: outputs.map(lambda value: torch.cat([value, value])))
    twice = replace(twice, targets=torch.cat([batch.targets, batch.targets]))
    value = alone(name, form)
    expected = 2.0 ** make_term(name, form).batch_degree
    # The constant that PKT adds to its probabilities does not shrink with them.
    torch.testing.assert_close(value(twice), expected * value(batch), rtol=1e-5, atol=1e-9)


def test_mld_gradient_is_the_difference_of_probabilities_even_on_confident_mistakes():
    student = torch.tensor([[50.0, -50.0, 17.0, 0.3]], requires_grad=True)
    teacher = torch.tensor([[-50.0, 50.0, -17.0, -1.0]])
    empty = torch.zeros(1, 4)
    alone("mld")(Batch(empty, Outputs(student), Outputs(teacher))).backward()
    torch.testing.assert_close(student.grad, student.detach().sigmoid() - teacher.sigmoid())


@pytest.mark.parametrize("name", ["cd", "id"])
@pytest.mark.parametrize("form", ["reference", "paper"])
def test_relations_keep_small_distances_of_a_tight_group_far_from_the_origin(name, form):
    batch = make_batch(TARGETS["usual"], scale=0.01)
    with torch.no_grad():
        batch.student.embeddings.add_(30)
        batch.teacher.embeddings.add_(30)
    _same_value_and_gradient(name, form, batch)


def test_embeddings_that_do_not_match_the_targets_are_refused():
    batch = make_batch(TARGETS["usual"])
    other = replace(batch, targets=1 - batch.targets)
    with pytest.raises(ValueError, match=r"one embedding per positive label \(\d+\)"):
        alone("cd")(other)
