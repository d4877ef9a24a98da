"""What a loss term is given, what a method is, and the weighted sum that a run minimises."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import torch
from torch import Tensor

from mlkdc import recipe
from mlkdc.errors import RecipeError, UsageError, nearest
from mlkdc.registry import Registry


@dataclass(frozen=True)
class Outputs:
    """What one model made of a batch of b images with q classes.

    Args:
        logits: ``[b, q]``.
        embeddings: ``[P, d]``, the label-wise embeddings of the P positive (image, class) pairs only, in the
            row-major order of ``targets.nonzero()``; None when no term asked for them.
    """

    logits: Tensor
    embeddings: Tensor | None = None

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Outputs":
        present = {item.name: getattr(self, item.name) for item in fields(self)}
        return replace(self, **{name: change(value) for name, value in present.items() if value is not None})

    def full_precision(self) -> "Outputs":
        """The same in float32, or in float64 where it is that already."""
        return self._map(lambda value: value if value.dtype == torch.float64 else value.float())

    def detach(self) -> "Outputs":
        """The same, cut off from the gradient."""
        return self._map(lambda value: value.detach())


@dataclass(frozen=True)
class Batch:
    """All that a term may look at.

    Args:
        targets: ``[b, q]`` of zeros and ones, any dtype.
        student: its outputs, with gradient.
        teacher: its outputs; None where no term needs a teacher.
    """

    targets: Tensor
    student: Outputs
    teacher: Outputs | None = None

    def get(self, need: str) -> Tensor | None:
        """The tensor that a need such as ``teacher.logits`` names, or None when it is not there."""
        model, name = need.split(".")
        outputs = getattr(self, model)
        return None if outputs is None else getattr(outputs, name)


class Term(ABC):
    """One named part of a loss: a number from a :class:`Batch`.

    The objective hands over everything in float32 at least, outside autocast, with the teacher detached,
    and only after checking that what ``needs`` names is there.

    Args:
        form: ``reference`` (the authors' released code) or ``paper`` (as printed), where the two differ.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    """Beyond ``student.logits``: e.g. ``student.embeddings``, ``teacher.logits``, ``teacher.embeddings``."""
    relational: ClassVar[bool] = False
    """Compares samples or labels with each other; such terms follow the recipe's ramp."""

    def __init__(self, form: str = "reference") -> None:
        self.form = form

    @abstractmethod
    def __call__(self, batch: Batch) -> Tensor:
        """The unweighted value, a scalar."""


@dataclass(frozen=True)
class Method:
    """A published method: a set of terms with their default weights.

    Args:
        name: what recipes call it.
        paper: where it was published.
        summary: one line.
        weights: default weight by term name.
    """

    name: str
    paper: str
    summary: str
    weights: Mapping[str, float]


TERMS: Registry[type[Term]] = Registry("loss term", "mlkdc.distill.methods")
METHODS: Registry[Method] = Registry("method", "mlkdc.distill.methods")


def add_method(method: Method) -> Method:
    """Register a method under its own name."""
    return METHODS.register(method.name)(method)


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
        self.needs_teacher = any(need.startswith("teacher.") for need in self.needs)

    def weight(self, name: str, progress: float) -> float:
        """The weight of a term when the share ``progress`` (0..1) of training is done."""
        ramped = self.terms[name].relational and self.ramp > 0
        return self.weights[name] * (min(1.0, progress / self.ramp) if ramped else 1.0)

    def __call__(self, batch: Batch, progress: float = 1.0) -> dict[str, Tensor]:
        """The weighted terms by name, scalars; their sum is the loss.

        Raises:
            UsageError: the models give no such output, e.g. label-wise embeddings from a linear head.
        """
        self._check(batch)
        with torch.autocast(batch.targets.device.type, enabled=False):
            teacher = None if batch.teacher is None else batch.teacher.detach().full_precision()
            full = Batch(batch.targets, batch.student.full_precision(), teacher)
            return {name: self.weight(name, progress) * term(full) for name, term in self.terms.items()}

    def _check(self, batch: Batch) -> None:
        for name, term in self.terms.items():
            for need in sorted(term.needs):
                if batch.get(need) is None:
                    raise UsageError(
                        f"the loss term {name!r} needs {need}, which this run's models do not give; "
                        f"use a teacher, and compact or decoder heads (label-wise embeddings) on both sides, "
                        f"or leave the term out (distill.weights.{name}: 0)"
                    )


def _faults(spec: recipe.Distill) -> list[str]:
    faults = []
    if spec.method not in METHODS.names():
        faults.append(f"distill.method: unknown method {spec.method!r}; {nearest(spec.method, METHODS.names())}")
    for name, weight in spec.weights.items():
        key = f"distill.weights.{name}"
        if name not in TERMS.names():
            faults.append(f"{key}: unknown loss term; {nearest(name, TERMS.names())}")
        elif not (math.isfinite(weight) and weight >= 0):
            faults.append(f"{key}: expected a finite weight of 0 or more, got {weight}")
    return faults


def make_objective(spec: recipe.Distill) -> Objective:
    """The objective that a recipe describes: the method's terms, with the recipe's weights over its own.

    A weight of 0 leaves a term out altogether: it is not computed and nothing is needed for it.

    Raises:
        RecipeError: unknown method or terms, impossible weights, or no term left; all faults at once.
    """
    faults = _faults(spec)
    if faults:
        raise RecipeError(faults, "distill")
    weights = {**METHODS.get(spec.method).weights, **spec.weights}
    weights = {name: weight for name, weight in weights.items() if weight > 0}
    if not weights:
        raise RecipeError(["distill.weights: every term has weight 0; leave at least one in"], "distill")
    return Objective({name: TERMS.get(name)(spec.form) for name in weights}, weights, spec.ramp)
