"""The weighted sum of terms that a run minimizes."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mlkdc.errors import RecipeError, UsageError, nearest
from mlkdc.losses.batch import Batch
from mlkdc.losses.gather import gathered
from mlkdc.losses.term import TERMS, Term
from mlkdc.methods import load_method, method_names
from mlkdc.recipe import Distill


class Objective:
    """A weighted sum of terms.

    Args:
        terms: by name.
        weights: by the same names.
        ramp: fraction of training over which relational terms rise linearly from 0 to their weight; 0 = at once.
    """

    def __init__(self, terms: Mapping[str, Term], weights: Mapping[str, float], ramp: float = 0.0) -> None:
        self.terms = dict(terms)
        self.weights = {name: float(weights[name]) for name in terms}
        self.ramp = ramp
        needs: set[str] = set()
        self.has_layers = False
        for term in self.terms.values():
            needs |= term.needs
            if type(term).build is not Term.build:
                self.has_layers = True
        sources = set()
        for need in needs:
            sources.add(need.split(".")[0])
        self.needs = frozenset(needs)
        self.sources = frozenset(sources - {"student"})
        self.needs_teacher = "teacher" in self.sources

    def fields(self, source: str) -> frozenset[str]:
        """The fields of a source's outputs that some term needs; the student's logits always."""
        names = set()
        if source == "student":
            names.add("logits")
        for need in self.needs:
            origin, name = need.split(".")
            if origin == source:
                names.add(name)
        return frozenset(names)

    def weight(self, name: str, progress: float) -> float:
        """The weight of a term when the fraction ``progress`` (0..1) of training is done."""
        weight = self.weights[name]
        if self.terms[name].relational and self.ramp > 0:
            weight *= min(1.0, progress / self.ramp)
        return weight

    def build(self, example: Batch) -> nn.ModuleDict:
        """The trainable layers of all terms that have some, made to fit the shapes in ``example``."""
        self._check(example)
        layers = nn.ModuleDict()
        for name, term in self.terms.items():
            term.build(example)
            if term.layers is not None:
                layers[name] = term.layers
        return layers

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms by name, scalars; their sum is the loss.

        In a training by several processes every one returns the terms of the full batch, and the mean over
        processes of their gradients is the full batch's.

        Raises:
            UsageError: the models give no such output, e.g. label-wise embeddings from a linear head.
        """
        self._check(batch)  # cheap, and a missing output is named before a term stumbles over it
        values = {}
        # Sums over a batch, and differences of nearly equal numbers, are not for half precision.
        with torch.autocast(batch.targets.device.type, enabled=False):
            full = gathered(batch.prepared())
            for name, term in self.terms.items():
                values[name] = self.weight(name, batch.progress) * term.compute(full)
        return values

    def _check(self, batch: Batch) -> None:
        for name, term in self.terms.items():
            for need in sorted(term.needs):
                if batch.get(need) is None:
                    raise UsageError(
                        f"the loss term {name!r} needs {need}, which this run's models do not compute; "
                        f"use a teacher, and on both sides a head with label-wise embeddings (attention, compact or "
                        f"decoder, not necessarily the same, of any sizes), "
                        f"or disable the term (distill.terms.{name}: 0)"
                    )


def make_objective(spec: Distill) -> Objective:
    """The objective that a recipe describes: the method's terms, with the recipe's weights in place of its.

    A weight of 0 disables a term: it is not computed and nothing is needed for it.

    Raises:
        RecipeError: unknown method, terms or options, impossible weights or options, or no term left; all faults of
            names and weights at once, then all of the options.
    """
    _raise(_name_faults(spec))
    method = load_method(spec.method)
    weights = {name: weight for name, weight in {**method.terms, **spec.terms}.items() if weight > 0}
    if not weights:
        _raise(["distill.terms: every term has weight 0; give one a weight above 0"])
    faults = []
    # Options of a term that is not there would be without effect, which is not what was meant.
    for name in spec.options:
        if name not in weights:
            faults.append(f"distill.options.{name}: not a term of this recipe; {nearest(name, weights)}")
    terms = {}
    for name in weights:
        term = TERMS.get(name)
        try:
            options = term.read_options(spec.options.get(name, {}))
            terms[name] = term(spec.form or method.form, options)
        except RecipeError as error:
            faults += error.faults
    _raise(faults)
    return Objective(terms, weights, spec.ramp)


def _name_faults(spec: Distill) -> list[str]:
    faults = []
    TERMS.names()  # registers the methods of other packages too
    if spec.method not in method_names():
        faults.append(f"distill.method: unknown method {spec.method!r}; {nearest(spec.method, method_names())}")
    for name, weight in spec.terms.items():
        key = f"distill.terms.{name}"
        if name not in TERMS.names():
            faults.append(f"{key}: unknown loss term; {nearest(name, TERMS.names())}")
        elif not (math.isfinite(weight) and weight >= 0):
            faults.append(f"{key}: expected a finite weight of 0 or more, got {weight}")
    return faults


def _raise(faults: list[str]) -> None:
    if faults:
        raise RecipeError(faults, "distill")
