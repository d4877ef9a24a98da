"""Methods as data: every YAML file is found, its terms exist, and it says rightly whether it needs a teacher."""

import subprocess
import sys

import pytest

from mlkdc import methods
from mlkdc.errors import UsageError
from mlkdc.losses import TERMS, make_objective
from mlkdc.methods import Method, load_method, method_names, register_method
from mlkdc.recipe import Distill, shipped_recipes
from mlkdc.resources import shipped

FILES = sorted(shipped("recipes").glob("_methods/*.yaml"))
EXAMPLE = Method(name="example", paper="-", summary="two terms", terms={"bce": 1, "mld": 2}, teacher=True)


@pytest.fixture
def no_others(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(methods, "_registered", {})


def test_every_file_is_a_method_and_no_recipe():
    assert len(FILES) >= 17
    assert method_names() == sorted(path.stem for path in FILES)
    assert not any("_methods" in name for name in shipped_recipes())


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_method_has_terms_that_exist_and_says_whether_they_need_a_teacher(name):
    method = load_method(name)
    assert method.name == name
    assert method.paper
    assert all(weight > 0 for weight in method.terms.values())
    needs = set().union(*(TERMS.get(term).needs for term in method.terms))
    assert method.teacher == any(need.startswith("teacher.") for need in needs)
    objective = make_objective(Distill(method=name))
    assert objective.weights == method.terms
    # A term that does not have the printed loss of another paper is a sum likewise.
    alike = {"printed": {"printed", "reference"}}.get(method.form, {method.form})
    assert {term.form for term in objective.terms.values() if "paper" in term.forms} <= alike


def test_methods_are_read_without_torch():
    code = "import sys; from mlkdc.methods import load_method, method_names; "
    code += "print(len([load_method(name) for name in method_names()]), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(FILES)), "False"]


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="unknown method 'l2dd'; did you mean l2d"):
        load_method("l2dd")


def test_a_registered_method_can_be_trained(no_others):
    register_method(EXAMPLE)
    assert "example" in method_names()
    assert make_objective(Distill(method="example")).weights == {"bce": 1, "mld": 2}


@pytest.mark.parametrize("name", ["l2d", "example"])
def test_a_taken_name_is_refused(name, no_others):
    register_method(EXAMPLE)
    with pytest.raises(UsageError, match=f"'{name}' exists already"):
        register_method(EXAMPLE.model_copy(update={"name": name}))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("terms: {}", "terms: dictionary should have at least 1 item"),
        ("terms: {bce: 1}\nweight: 1", "unknown key weight"),
    ],
)
def test_a_faulty_file_is_named(line, fault, tmp_path, monkeypatch):
    path = tmp_path / "_methods" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(f'paper: "-"\nsummary: mine\nteacher: false\n{line}\n', encoding="utf-8")
    monkeypatch.setattr(methods, "shipped", lambda _: tmp_path)
    with pytest.raises(UsageError, match=rf"mine\.yaml: {fault}"):
        load_method("mine")
