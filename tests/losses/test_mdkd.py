"""MDKD: no path is enumerated, and nothing is lost by it."""

from dataclasses import replace

import pytest
import torch
from batches import alone, exact, make_batch, make_term, random_targets
from oracles import ORACLES
from oracles.mdkd import along_paths, printed
from torch.utils._python_dispatch import TorchDispatchMode

from mlkdc.losses import Batch, Objective, Outputs, make_objective
from mlkdc.recipe import Distill

ORDERS = range(2, 7)
FORMS = [("bd", "reference"), ("bd", "literal"), ("id", "reference")]


def _batch(images, labels, dtype=torch.float64, scale=1.5, apart=1.0, seed=0):
    """A student whose logits lie ``apart`` from the teacher's."""
    generator = torch.Generator().manual_seed(seed)
    teacher = scale * torch.randn(images, labels, dtype=torch.float64, generator=generator)
    student = teacher + apart * torch.randn(images, labels, dtype=torch.float64, generator=generator)
    targets = torch.zeros(images, labels)
    return Batch(targets, Outputs(student.to(dtype).requires_grad_()), Outputs(teacher.to(dtype)))


def _objective(orders):
    names = [f"{level}{order}" for level in ("bd", "id") for order in orders]
    return Objective({name: make_term(name) for name in names}, dict.fromkeys(names, 1.0))


@pytest.mark.parametrize("labels", range(4, 9))
@pytest.mark.parametrize(("level", "form"), FORMS)
def test_closed_form_equals_all_paths(level, form, labels):
    for order in range(2, min(labels, 6) + 1):
        ours, slow = _batch(5, labels), _batch(5, labels)
        value = alone(f"{level}{order}", form)(ours)
        expected = ORACLES[f"{level}{order}"](slow, form, None)
        value.backward()
        expected.backward()
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
        gradient = slow.student.logits.grad
        assert gradient.abs().max() > 1e-6
        torch.testing.assert_close(ours.student.logits.grad, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("level", "form"), FORMS)
def test_gradcheck_with_enough_labels_for_every_order(level, form, order):
    batch = _batch(3, 7)
    term = make_term(f"{level}{order}", form)
    student = batch.student.logits
    assert torch.autograd.gradcheck(lambda logits: term.compute(replace(batch, student=Outputs(logits))), (student,))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("level", ["bd", "id"])
@pytest.mark.parametrize("scale", [1.5, 8.0])
def test_float32_keeps_its_digits_when_student_and_teacher_nearly_agree(level, order, scale):
    """Logits 4e-4 apart, probabilities 1e-4 and less: their float32 difference would have three digits."""
    batch = _batch(6, 8, torch.float32, scale, apart=4e-4)
    slow = exact(batch)
    value = alone(f"{level}{order}")(batch)
    expected = ORACLES[f"{level}{order}"](slow, "reference", None)
    value.backward()
    expected.backward()
    torch.testing.assert_close(value.double(), expected, rtol=3e-6, atol=0)
    gradient = slow.student.logits.grad
    largest = gradient.abs().max()
    torch.testing.assert_close(batch.student.logits.grad.double() / largest, gradient / largest, rtol=0, atol=3e-6)


@pytest.mark.parametrize(("level", "form"), FORMS)
@pytest.mark.parametrize("labels", [1, 2, 3])
def test_no_path_of_that_many_labels_is_zero_with_a_gradient(level, form, labels):
    for order in range(labels + 1, 7):
        batch = _batch(3, labels)
        value = alone(f"{level}{order}", form)(batch)
        value.backward()
        assert value == 0
        assert not batch.student.logits.grad.any()


def test_literal_is_the_huber_loss_while_differences_are_small_and_not_less_beyond():
    small, large = _batch(3, 5, apart=0.3), _batch(8, 5)
    with torch.no_grad():
        large.teacher.logits[:, 0] += 5
    for order in ORDERS[:-1]:
        for batch, exceeds in ((small, False), (large, True)):
            theirs, ours = (printed(side.logits.detach().sigmoid()) for side in (batch.teacher, batch.student))
            assert bool(((theirs - ours).abs() > 1).any()) is exceeds
            value, expected = alone(f"bd{order}", "literal")(batch), along_paths(theirs, ours, order)
            if order == 2 or not exceeds:
                torch.testing.assert_close(value.detach(), expected)
            else:
                assert value > expected


def test_the_method_has_the_papers_orders_and_weights():
    """Section 4.3 and table 4: up to order 4, all with weight 1."""
    objective = make_objective(Distill(method="mdkd"))
    orders = {"bd2": 1, "bd3": 1, "bd4": 1, "id2": 1, "id3": 1, "id4": 1}
    assert objective.weights == {"bce": 1, "mld": 10, **orders}
    assert objective.needs == {"teacher.logits"}


def test_forms_of_the_method():
    terms = make_objective(Distill(method="mdkd")).terms
    assert {name: term.form for name, term in terms.items() if name in ("bce", "bd3", "id3")} == {
        "bce": "paper",
        "bd3": "reference",
        "id3": "reference",
    }
    literal = make_objective(Distill(method="mdkd", form="literal")).terms
    assert (literal["bce"].form, literal["bd3"].form, literal["id3"].form) == ("paper", "literal", "reference")


class _Watch(TorchDispatchMode):
    """How many operations ran, and the number of elements of the largest tensor that any of them returned."""

    operations = 0
    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        for item in result if isinstance(result, tuple | list) else [result]:
            if isinstance(item, torch.Tensor):
                self.elements = max(self.elements, item.numel())
        return result


def _watched(orders, images, labels):
    batch, objective = _batch(images, labels, torch.float32), _objective(orders)
    with _Watch() as watch:
        sum(objective(batch).values()).backward()
    return watch


@pytest.mark.parametrize(("images", "labels"), [(32, 80), (4, 90), (200, 11)])
def test_no_tensor_larger_than_the_batch_or_a_matrix_of_labels(images, labels):
    watch = _watched(ORDERS, images, labels)
    assert images * labels <= watch.elements <= max(images * labels, labels * labels)


def test_orders_share_the_work():
    assert _watched(ORDERS, 32, 80).operations < 1.5 * _watched(range(2, 5), 32, 80).operations


def test_values_of_all_orders_do_not_depend_on_which_are_asked_for():
    batch = make_batch(random_targets(6, 7))
    together = _objective(ORDERS)(batch)
    for name, value in together.items():
        assert torch.equal(value, alone(name)(batch))
