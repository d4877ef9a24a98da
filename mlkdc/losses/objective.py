"""The weighted sum of terms that a run minimizes."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mlkdc.errors import RecipeError, UsageError, nearest
from mlkdc.losses.batch import Batch
from mlkdc.losses.gather import gathered
from mlkdc.losses.term import TERMS, Term
from mlkdc.methods import Method, load_method, method_names
from mlkdc.recipe import Distill


class Objective:
    """A weighted sum of terms.

    Args:
        terms: by name.
        weights: by the same names.
        ramp: fraction of training over which relational terms rise linearly from 0 to their weight; 0 = at once.

    Attributes:
        factors: by term, multiplied with its weight; 1 unless something adapts them (:class:`Balance`).
        with_layers: the terms that have layers of their own, which are trained along.
    """

    def __init__(self, terms: Mapping[str, Term], weights: Mapping[str, float], ramp: float = 0.0) -> None:
        self.terms = dict(terms)
        self.weights = {name: float(weights[name]) for name in terms}
        self.factors = dict.fromkeys(self.terms, 1.0)
        self.ramp = ramp
        needs: set[str] = set()
        with_layers = []
        for name, term in self.terms.items():
            needs |= term.needs
            if type(term).build is not Term.build:
                with_layers.append(name)
        sources = set()
        for need in needs:
            sources.add(need.split(".")[0])
        self.with_layers = tuple(with_layers)
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
        return self.weights[name] * self.factors[name] * self.risen(name, progress)

    def risen(self, name: str, progress: float) -> float:
        """The fraction of its full weight that the ramp leaves a term, 0..1."""
        if self.terms[name].relational and self.ramp > 0:
            return min(1.0, progress / self.ramp)
        return 1.0

    def shares(self, values: Mapping[str, Tensor], batches: int) -> dict[str, Tensor]:
        """What one batch's terms add to those of the ``batches`` that make a step together, as if they were one."""
        # In a batch n times as large a sum is n times that of a part, and there are n parts to add up.
        return {name: value / batches ** (1 - self.terms[name].batch_degree) for name, value in values.items()}

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

    A weight of 0 disables a term: it is not computed and nothing is needed for it. Another base loss takes the place
    and weight of ``bce``; a term of ``balance`` that the method does not have is added with weight 1.

    Raises:
        RecipeError: unknown method, terms or options, impossible weights or options, or no term left; all faults of
            names and weights at once, then all of the options.
    """
    _raise(_name_faults(spec))
    method = load_method(spec.method)
    _raise(_form_faults(spec, method))
    weights = _weights(spec, method)
    if not weights:
        _raise(["distill.terms: every term has weight 0; give one a weight above 0"])
    faults = _balance_faults(spec, weights)
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


def _weights(spec: Distill, method: Method) -> dict[str, float]:
    """The weights above 0, with the base loss in place of ``bce``.

    Raises:
        RecipeError: there is no ``bce`` to replace, or its replacement is a term already.
    """
    # In the recipe's order, which is that of layers, of their first weights and of what processes send each other.
    added = {name: 1.0 for name in spec.balance if name != spec.base}
    weights: dict[str, float] = {}
    for name, weight in {**added, **method.terms, **spec.terms}.items():
        if weight > 0:
            weights[name] = weight
    if spec.base == "bce":
        return weights
    if "bce" not in weights:
        _raise([f"distill.base: {spec.base} takes the place of bce, which method {spec.method!r} does not use here"])
    if spec.base in weights:
        _raise([f"distill.base: {spec.base} is one of the terms already; remove it from distill.terms and balance"])
    return {spec.base if name == "bce" else name: weight for name, weight in weights.items()}


def _balance_faults(spec: Distill, weights: Mapping[str, float]) -> list[str]:
    faults = []
    for name, share in spec.balance.items():
        key = f"distill.balance.{name}"
        if name not in weights:
            faults.append(f"{key}: not a term of this recipe; {nearest(name, weights)}")
        elif not 0 < share < 1:
            faults.append(f"{key}: expected a share above 0 and below 1, got {share}")
    total = sum(spec.balance.values())
    if total >= 1:
        faults.append(f"distill.balance: expected shares that leave something to other terms, got {total:g} in all")
    if spec.balance and not set(weights) - set(spec.balance):
        faults.append("distill.balance: shares of all terms are held; leave one out, which the others are measured by")
    return faults


def _name_faults(spec: Distill) -> list[str]:
    faults = []
    TERMS.names()  # registers the methods of other packages too
    if spec.method not in method_names():
        faults.append(f"distill.method: unknown method {spec.method!r}; {nearest(spec.method, method_names())}")
    for name, weight in spec.terms.items():
        key = f"distill.terms.{name}"
        if name not in TERMS.names():
            faults.append(f"{key}: unknown loss term; {nearest(name, TERMS.names())}")
        elif weight < 0:
            faults.append(f"{key}: expected a weight of 0 or more, got {weight}")
    for name in spec.balance:
        if name not in TERMS.names():
            faults.append(f"distill.balance.{name}: unknown loss term; {nearest(name, TERMS.names())}")
    return faults


def _form_faults(spec: Distill, method: Method) -> list[str]:
    if spec.form != "reference" or method.form != "printed":
        return []
    return [
        "distill.form: expected printed (the default) or paper, got reference: the authors' code of "
        f"{spec.method} does not run, and what was called reference is the loss as printed, with the same values: "
        "`--set distill.form=printed`"
    ]


def _raise(faults: list[str]) -> None:
    if faults:
        raise RecipeError(faults, "distill")
