"""The weighted sum of terms that a run minimizes."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mlkdc import recipe
from mlkdc.errors import RecipeError, UsageError, nearest
from mlkdc.losses.base import LEARNED, METHODS, TERMS, Batch, Outputs, Term
from mlkdc.losses.gather import gathered


class Objective:
    """A weighted sum of terms.

    Args:
        terms: by name.
        weights: by the same names.
        ramp: share of training over which relational terms rise linearly from 0 to their weight; 0 = at once.
    """

    def __init__(self, terms: Mapping[str, Term], weights: Mapping[str, float], ramp: float = 0.0) -> None:
        self.terms = dict(terms)
        self.weights = {name: float(weights[name]) for name in terms}
        self.ramp = ramp
        self.needs: frozenset[str] = frozenset().union(*(term.needs for term in terms.values()))
        self.sources = frozenset(need.split(".")[0] for need in self.needs) - {"student"}
        self.needs_teacher = "teacher" in self.sources
        self.has_layers = any(type(term).build is not Term.build for term in terms.values())

    def asked(self, source: str) -> frozenset[str]:
        """The fields of a source's outputs that some term needs; the student's logits always."""
        pairs = [("student", "logits"), *(need.split(".") for need in self.needs)]
        return frozenset(name for found, name in pairs if found == source)

    def weight(self, name: str, progress: float) -> float:
        """The weight of a term when the share ``progress`` (0..1) of training is done."""
        ramped = self.terms[name].relational and self.ramp > 0
        return self.weights[name] * (min(1.0, progress / self.ramp) if ramped else 1.0)

    def build(self, example: Batch) -> nn.ModuleDict:
        """The trainable layers of all terms that have some, made to fit the shapes in ``example``."""
        self._check(example)
        for term in self.terms.values():
            term.build(example)
        return nn.ModuleDict({name: term.layers for name, term in self.terms.items() if term.layers is not None})

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms by name, scalars; their sum is the loss.

        In a training by several processes every one returns the terms of the whole batch, and the mean over
        processes of their gradients is the whole batch's.

        Raises:
            UsageError: the models give no such output, e.g. label-wise embeddings from a linear head.
        """
        self._check(batch)
        with torch.autocast(batch.targets.device.type, enabled=False):
            whole = gathered(batch.map(self._ready))
            return {name: self.weight(name, batch.progress) * term(whole) for name, term in self.terms.items()}

    @staticmethod
    def _ready(source: str, outputs: Outputs) -> Outputs:
        return (outputs if source in LEARNED else outputs.detach()).full_precision()

    def _check(self, batch: Batch) -> None:
        for name, term in self.terms.items():
            for need in sorted(term.needs):
                if batch.get(need) is None:
                    raise UsageError(
                        f"the loss term {name!r} needs {need}, which this run's models do not give; "
                        f"use a teacher, and compact or decoder heads (label-wise embeddings) on both sides, "
                        f"or leave the term out (distill.terms.{name}: 0)"
                    )


def options_of(term: type[Term]) -> dict[str, Any]:
    """The options a recipe may set for a term, with their defaults."""
    parameters = list(inspect.signature(term).parameters.values())
    return {item.name: item.default for item in parameters if item.name != "form"}


def _option_faults(spec: recipe.Distill, used: Mapping[str, float]) -> list[str]:
    faults = []
    for name, options in spec.options.items():
        key = f"distill.options.{name}"
        if name not in used:
            faults.append(f"{key}: not a term of this recipe; {nearest(name, used)}")
            continue
        known = options_of(TERMS.get(name))
        for option, value in options.items():
            if option not in known:
                faults.append(f"{key}.{option}: unknown option; {nearest(option, known)}")
            elif isinstance(known[option], bool) != isinstance(value, bool):
                wanted = "true or false" if isinstance(known[option], bool) else "a number"
                faults.append(f"{key}.{option}: expected {wanted}, got {value!r}")
            elif not math.isfinite(value) or (option == "temperature" and value <= 0):
                faults.append(f"{key}.{option}: expected a finite number above 0, got {value}")
    return faults


def _faults(spec: recipe.Distill) -> list[str]:
    faults = []
    if spec.method not in METHODS.names():
        faults.append(f"distill.method: unknown method {spec.method!r}; {nearest(spec.method, METHODS.names())}")
    for name, weight in spec.terms.items():
        key = f"distill.terms.{name}"
        if name not in TERMS.names():
            faults.append(f"{key}: unknown loss term; {nearest(name, TERMS.names())}")
        elif not (math.isfinite(weight) and weight >= 0):
            faults.append(f"{key}: expected a finite weight of 0 or more, got {weight}")
    return faults


def make_objective(spec: recipe.Distill) -> Objective:
    """The objective that a recipe describes: the method's terms, with the recipe's weights over its own.

    A weight of 0 leaves a term out altogether: it is not computed and nothing is needed for it.

    Raises:
        RecipeError: unknown method, terms or options, impossible weights, or no term left; all faults at once.
    """
    faults = _faults(spec)
    if faults:
        raise RecipeError(faults, "distill")
    method = METHODS.get(spec.method)
    weights = {name: weight for name, weight in {**method.weights, **spec.terms}.items() if weight > 0}
    if not weights:
        raise RecipeError(["distill.terms: every term has weight 0; leave at least one in"], "distill")
    faults = _option_faults(spec, weights)
    if faults:
        raise RecipeError(faults, "distill")
    form = spec.form or method.form
    terms = {name: TERMS.get(name)(form, **spec.options.get(name, {})) for name in weights}
    return Objective(terms, weights, spec.ramp)
