"""What a loss term is.

In the formulas of the terms, i and j are images of a batch of b, k and l are labels; y_ik is 1 where image i has label
k, else 0; s and t are the logits of student and teacher, p_S and p_T their sigmoids. KL is the divergence of one
label's Bernoulli distributions, BCE one label's binary cross-entropy, H the Huber (smooth-L1) loss with threshold 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mlkdc.errors import RecipeError, UsageError, nearest
from mlkdc.losses.batch import Batch, Outputs
from mlkdc.losses.options import OptionValue, TermOptions, option_faults
from mlkdc.recipe import Form
from mlkdc.registry import Registry

#: From the printed equation to the released code; a term that does not have one takes the next.
FORMS: tuple[Form, ...] = ("literal", "paper", "printed", "reference")


class Term(ABC):
    """One named part of a loss: a number from a :class:`Batch`.

    The objective hands over everything in float32 at least, outside autocast, detached but for ``student`` and
    ``twin``, gathered from all processes, and only after checking that what ``needs`` names is there.

    Args:
        form: ``reference`` (the authors' released code), ``paper`` (the settled reading of the text), ``literal`` (an
            equation as printed, where that is something else again) or ``printed`` (the loss as printed, in place of a
            reference where the released code does not run), for terms where they differ.
        options: an object of the class's ``Options``.
        values: options by name; they win over those in ``options``.

    Raises:
        UsageError: no such form, or wrong options.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    """Beyond ``student.logits``: ``source.field``, such as ``teacher.logits`` or ``student.embeddings``."""
    uses_labels: ClassVar[bool] = True
    """Whether the value depends on ``targets``."""
    soft_labels: ClassVar[bool] = False
    """Whether ``targets`` between 0 and 1, of mixed images, give a sensible value; so does a term without labels."""
    relational: ClassVar[bool] = False
    """Compares samples or labels with each other; such terms follow the recipe's ramp."""
    forms: ClassVar[tuple[Form, ...]] = ("reference",)
    """Those in which its value differs; for another one, it takes the next of ``FORMS`` that it has."""
    Options: ClassVar[type[TermOptions]] = TermOptions
    """What a recipe may set in ``distill.options``."""
    paper: ClassVar[str] = "-"
    """Where it was published (read from a class that an entry point names)."""
    weight: ClassVar[float] = 1.0
    """Its weight next to ``bce: 1`` (read from a class that an entry point names)."""

    def __init__(self, form: Form = "reference", options: TermOptions | None = None, **values: OptionValue) -> None:
        if form not in FORMS:
            raise UsageError(f"unknown form {form!r} of a loss term; {nearest(form, FORMS)}")
        if options is not None:
            values = {**options.model_dump(), **values}
        self.form = _fitting(form, self.forms)
        self.options = self.read_options(values)
        self.layers: nn.Module | None = None

    @property
    def batch_degree(self) -> int:
        """The power of b with which the value grows in a batch of b: 1 for a sum over the images, 0 for a mean.

        Sums are those of a form next to which there is a ``paper``, as of ``bce``. Accumulated batches go by it.
        """
        if self.form in ("reference", "printed") and "paper" in self.forms:
            return 1
        return 0

    @classmethod
    def name(cls) -> str:
        """What recipes call it; the class's name where it is not registered."""
        for name, term in TERMS.items():
            if term is cls:
                return name
        return cls.__name__

    @classmethod
    def read_options(cls, values: Mapping[str, OptionValue]) -> TermOptions:
        """Its options from values by name.

        Raises:
            RecipeError: unknown names, wrong types, values out of range; all of them, each by its key in a recipe.
        """
        try:
            return cls.Options.model_validate(dict(values))
        except ValidationError as error:
            name = cls.name()
            raise RecipeError(option_faults(cls.Options, error, name), f"the loss term {name}") from None

    def build(self, example: Batch) -> None:  # noqa: B027 - most terms have nothing to build
        """Set ``self.layers`` to trainable layers fitting ``example``'s shapes; called once, before training.

        They are trained with the student and discarded afterwards.
        """

    @abstractmethod
    def compute(self, batch: Batch) -> Tensor:
        """The unweighted value, a scalar."""

    def __call__(
        self, student_logits: Tensor, teacher_logits: Tensor | None = None, targets: Tensor | None = None
    ) -> Tensor:
        """The unweighted value of logits, a scalar; for terms that need nothing else.

        Args:
            student_logits: ``[b, q]``, with gradient.
            teacher_logits: ``[b, q]``, for a term that needs a teacher; no gradient reaches them.
            targets: ``[b, q]`` of zeros and ones, for a term that uses the labels.

        Raises:
            UsageError: the term needs more than that, or shapes differ; says what.
        """
        beyond = sorted(self.needs - {"teacher.logits"})
        if beyond:
            raise UsageError(
                f"{self.name()} needs {' and '.join(beyond)}, more than logits and labels; put the models' outputs "
                "into a batch and call compute(Batch(...))"
            )
        outputs = {"student": Outputs(student_logits)}
        if teacher_logits is not None:
            outputs["teacher"] = Outputs(teacher_logits)
        elif self.needs:
            raise UsageError(f"{self.name()} compares the student with a teacher; pass teacher_logits, [b, q]")
        for name, tensor in (("teacher_logits", teacher_logits), ("targets", targets)):
            # Otherwise broadcasting could give a number without any meaning.
            if tensor is not None and tensor.shape != student_logits.shape:
                expected, actual = list(student_logits.shape), list(tensor.shape)
                raise UsageError(f"expected {name} of the student's shape {expected}, got {actual}")
        if targets is None:
            if self.uses_labels:
                raise UsageError(f"{self.name()} depends on the labels; pass targets, [b, q] of zeros and ones")
            targets = torch.zeros_like(student_logits)
        with torch.autocast(student_logits.device.type, enabled=False):
            return self.compute(Batch.of(targets, outputs).prepared())


def _fitting(form: Form, available: tuple[Form, ...]) -> Form:
    for candidate in FORMS[FORMS.index(form) :]:
        if candidate in available:
            return candidate
    return available[-1]


TERMS: Registry[type[Term]] = Registry("loss term", "mlkdc.losses.terms", after="mlkdc.losses.plugins")
