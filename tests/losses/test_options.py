"""A term's options: set in a recipe or by hand, and every wrong one named at once."""

import re
from typing import Literal

import pytest
import torch
from batches import alone, make_batch, random_targets
from pydantic import Field

from mlkdc.errors import RecipeError, UsageError
from mlkdc.losses import TERMS, Term, TermOptions, make_objective
from mlkdc.losses.term import FORMS
from mlkdc.losses.terms.history import DLB
from mlkdc.recipe import Distill, load_recipe

WITH_OPTIONS = [name for name, term in TERMS.items() if term.Options.model_fields]
EVERY_OPTION = [(name, option) for name in WITH_OPTIONS for option in TERMS.get(name).Options.model_fields]


def test_options_reach_their_term_and_wrong_ones_are_reported_at_once():
    batch = make_batch(random_targets())
    spec = {"terms": {"mbd": 1}, "options": {"mbd": {"temperature": 2, "detach_weights": True}}}
    value = make_objective(Distill(**spec))(batch)["mbd"]
    torch.testing.assert_close(value, alone("mbd", temperature=2, detach_weights=True)(batch))
    assert value != alone("mbd")(batch)
    wrong = {"mbd": {"temprature": 2, "detach_weights": 3, "omega": True}, "mld": {"x": 1}, "bce": {"x": 1}}
    with pytest.raises(UsageError) as caught:
        make_objective(Distill(terms={"mbd": 1}, options=wrong))
    message = str(caught.value)
    assert "5 faults" in message
    assert "distill.options.mbd.temprature: unknown option; did you mean temperature" in message
    assert "distill.options.mbd.detach_weights: expected true or false, got 3" in message
    assert "distill.options.mbd.omega: expected a finite number of at least 0 and at most 1, got True" in message
    assert "distill.options.mld: not a term of this recipe" in message


@pytest.mark.parametrize(
    ("term", "option", "value", "said"),
    [
        ("mbd", "temperature", 0, "distill.options.mbd.temperature: expected a finite number above 0, got 0"),
        ("mbd", "omega", float("inf"), "distill.options.mbd.omega: expected a finite number"),
        ("rsd", "rounds", 1.5, "distill.options.rsd.rounds: expected a whole number of at least 0, got 1.5"),
        ("mbd", "omega", "inf", "distill.options.mbd.omega: expected a finite number .*, got 'inf'"),
        ("mbd", "omega", "nan", "distill.options.mbd.omega: expected a finite number .*, got 'nan'"),
        ("mbd", "omega", "1e999", "distill.options.mbd.omega: expected a finite number .*, got '1e999'"),
        ("mbd", "omega", "2e0", "distill.options.mbd.omega: expected a finite number .* at most 1, got 2"),
        ("mbd", "detach_weights", "1e0", "distill.options.mbd.detach_weights: expected true or false, got '1e0'"),
        ("reviewkd", "channels", 0.5, "distill.options.reviewkd.channels: expected a whole number of at least 1"),
    ],
)
def test_impossible_options_are_refused(term, option, value, said):
    with pytest.raises(UsageError, match=said):
        make_objective(Distill(terms={term: 1}, options={term: {option: value}}))


@pytest.mark.parametrize(("name", "option"), EVERY_OPTION)
def test_every_option_has_a_description_and_refuses_a_word_by_its_key(name, option):
    term = TERMS.get(name)
    assert term.Options.model_fields[option].description
    assert getattr(term().options, option) == term.Options.model_fields[option].default
    with pytest.raises(RecipeError) as caught:
        make_objective(Distill(terms={name: 1}, options={name: {option: "many"}}))
    (fault,) = caught.value.faults
    kinds = "a finite number|a whole number|true or false"
    assert re.fullmatch(rf"distill\.options\.{name}\.{option}: expected ({kinds}).*, got 'many'", fault)


def test_numbers_with_an_exponent_are_numbers():
    # To PyYAML, which follows YAML 1.1, they are text.
    settings = ["distill.method=mskd", "distill.options.ssd.gamma_positive=2e-1"]
    objective = make_objective(load_recipe("quickstart", settings).distill)
    assert objective.terms["ssd"].options == TERMS.get("ssd").Options(gamma_positive=0.2)
    assert TERMS.get("rsd")(rounds="3e0").options.rounds == 3


def test_options_are_given_by_name_or_as_an_object():
    by_name = DLB(form="paper", temperature=5.0)
    as_object = DLB("paper", DLB.Options(temperature=5.0))
    assert by_name.form == as_object.form == "paper"
    assert by_name.options == as_object.options == DLB.Options(temperature=5)
    assert DLB(options=DLB.Options(temperature=5.0), temperature=6.0).options.temperature == 6
    assert DLB().options.temperature == 3


def test_every_wrong_option_of_a_constructor_is_named_once():
    with pytest.raises(UsageError) as caught:
        TERMS.get("tfkd")(temperature=-1, correct=1, temprature=2)
    assert str(caught.value).splitlines() == [
        "the loss term tfkd: 3 faults",
        "  distill.options.tfkd.correct: expected a finite number of at least 0.5 and below 1, got 1",
        "  distill.options.tfkd.temperature: expected a finite number above 0, got -1",
        "  distill.options.tfkd.temprature: unknown option; did you mean temperature?",
    ]
    with pytest.raises(UsageError, match=r"distill\.options\.mld\.x: unknown option; the term has none"):
        TERMS.get("mld")(x=1)


def test_an_option_that_was_renamed_is_named():
    with pytest.raises(UsageError, match=r"distill\.options\.ps\.normalised: this option is called normalized now"):
        make_objective(Distill(method="ps", options={"ps": {"normalised": False}}))


def test_names_of_arguments_are_no_options():
    for name in ("form", "options"):
        with pytest.raises(UsageError, match=rf"distill\.options\.dlb\.{name}: unknown option"):
            make_objective(Distill(method="dlb", options={"dlb": {name: "paper"}}))


def test_an_unknown_form_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"unknown form 'papr'.*did you mean paper"):
        DLB("papr")


def test_forms_are_those_of_a_recipe():
    for form in FORMS:
        assert Distill(form=form).form == form


class _Choosing(Term):
    """A term with a choice."""

    class Options(TermOptions):
        reduction: Literal["mean", "sum"] = Field("mean", description="over images")

    def compute(self, batch):
        return getattr(batch.student.logits, self.options.reduction)()


def test_an_option_can_be_a_choice(monkeypatch):
    monkeypatch.setitem(TERMS._items, "choosing", _Choosing)
    batch = make_batch(random_targets())
    recipe = Distill(terms={"choosing": 1}, options={"choosing": {"reduction": "sum"}})
    torch.testing.assert_close(make_objective(recipe)(batch)["choosing"], batch.student.logits.sum())
    with pytest.raises(UsageError, match=r"distill\.options\.choosing\.reduction: expected mean or sum, got 'median'"):
        make_objective(Distill(terms={"choosing": 1}, options={"choosing": {"reduction": "median"}}))
