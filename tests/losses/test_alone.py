"""A term by itself: called with logits, and described well enough to be."""

import inspect
import re

import pytest
import torch
from batches import make_batch, random_targets

from mlkdc.errors import UsageError
from mlkdc.losses import TERMS, Batch, Outputs

CALLABLE = [name for name, term in TERMS.items() if term.needs <= {"teacher.logits"}]
OTHERS = [name for name in TERMS.names() if name not in CALLABLE]
FORMS = [(name, form) for name in CALLABLE for form in TERMS.get(name).forms]


def _logits():
    batch = make_batch(random_targets(labels=7))  # enough for every order of MDKD
    return batch.student.logits, batch.teacher.logits, batch.targets


def test_most_terms_of_logits_are_there():
    assert set(CALLABLE) >= {"bce", "mld", "mse", "ps", "mbd", "tfkd", "bd2", "id6"}


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_a_term_gives_the_same_alone_and_through_a_batch(name, form):
    student, teacher, targets = _logits()
    term = TERMS.get(name)(form)
    value = term(student, teacher, targets)
    assert value.shape == ()
    assert torch.equal(value, term.compute(Batch(targets, Outputs(student), Outputs(teacher.detach()))))
    value.backward()
    assert student.grad.any()
    assert teacher.grad is None
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(value, term(student, teacher, targets))
    half = term(student.half(), teacher.half(), targets)
    assert half.dtype == torch.float32


@pytest.mark.parametrize("name", CALLABLE)
def test_a_term_says_what_it_depends_on(name):
    student, teacher, targets = _logits()
    term = TERMS.get(name)()
    if "teacher.logits" in term.needs:
        with pytest.raises(UsageError, match=f"{name} compares the student with a teacher; pass teacher_logits"):
            term(student, targets=targets)
    else:
        assert torch.equal(term(student, targets=targets), term(student, teacher, targets))
    if term.uses_labels:
        with pytest.raises(UsageError, match=f"{name} depends on the labels; pass targets"):
            term(student, teacher)
        assert not torch.equal(term(student, teacher, targets), term(student, teacher, 1 - targets))
    else:
        assert torch.equal(term(student, teacher), term(student, teacher, targets))


@pytest.mark.parametrize("name", OTHERS)
def test_a_term_that_needs_more_says_what(name):
    student, teacher, targets = _logits()
    term = TERMS.get(name)()
    with pytest.raises(UsageError) as caught:
        term(student, teacher, targets)
    for need in term.needs - {"teacher.logits"}:
        assert need in str(caught.value)
    assert "compute(Batch(...))" in str(caught.value)


@pytest.mark.parametrize("name", TERMS.names())
def test_a_docstring_has_a_formula_and_names_the_arguments(name):
    term = TERMS.get(name)
    text = inspect.cleandoc(term.__doc__)
    assert len(re.findall(r"^``L = .+``$", text, re.MULTILINE)) == 1
    arguments = text.partition("Args:")[2]
    for option in term.Options.model_fields:
        assert re.search(rf"\b{option}\b", arguments), option
    if len(term.forms) > 1:
        assert "form: " in arguments
        assert all(f"``{form}``" in text for form in term.forms)
    assert arguments or "No arguments." in text


def test_shapes_that_would_be_broadcast_are_refused() -> None:
    term = TERMS.get("mld")()
    logits = torch.zeros(4, 3)
    with pytest.raises(UsageError, match=r"expected teacher_logits of the student's shape \[4, 3\], got \[1, 3\]"):
        term(logits, torch.zeros(1, 3))
    with pytest.raises(UsageError, match=r"expected targets of the student's shape \[4, 3\], got \[4\]"):
        term(logits, logits, torch.zeros(4))
