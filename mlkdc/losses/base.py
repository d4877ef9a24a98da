"""What a loss term is given, what a term is, and what a method is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from mlkdc.registry import Registry

T = TypeVar("T")


@dataclass(frozen=True)
class Outputs:
    """What one model made of a batch of b images with q classes; None for what no term asked for.

    Args:
        logits: ``[b, q]``; of :attr:`Batch.patches` and :attr:`Batch.samples` ``[b, S, q]``.
        embeddings: ``[P, d]``, the label-wise embeddings of the P positive (image, class) pairs only, in the
            row-major order of ``targets.nonzero()``.
        pooled: ``[b, C]``, the mean of the backbone's last feature map over its positions.
        regions: ``[b, S, q]``, the head applied to the S patches' regions of the whole image's feature map.
        stages: the backbone's feature maps ``[b, C_i, h_i, w_i]``, one for each resolution, finest first.
    """

    # Declared as always there, which it is for whoever asks for it.
    logits: Tensor = None  # type: ignore[assignment]
    embeddings: Tensor | None = None
    pooled: Tensor | None = None
    regions: Tensor | None = None
    stages: tuple[Tensor, ...] | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Outputs":
        """The same with every tensor changed."""
        changed: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None:
                changed[item.name] = tuple(map(change, value)) if isinstance(value, tuple) else change(value)
        return replace(self, **changed)

    def full_precision(self) -> "Outputs":
        """The same in float32, or in float64 where it is that already."""
        return self.map(lambda value: value.float() if value.element_size() < 4 else value)

    def detach(self) -> "Outputs":
        """The same, cut off from the gradient."""
        return self.map(lambda value: value.detach())


@dataclass(frozen=True)
class Batch:
    """All that a term may look at: the labels, and outputs by where they come from.

    Args:
        targets: ``[b, q]`` of zeros and ones, any dtype.
        student: its outputs, with gradient.
        teacher: the teacher's.
        twin: the student's on a second random view of the same images, with gradient: ``logits``, ``pooled``.
        previous: the student's on the same views, with its weights of one step ago.
        patches: the student's on S crops of each image: ``logits [b, S, q]``.
        samples: the student's with S draws of its head's dropout: ``logits [b, S, q]``.
        last_epoch: the student's of the epoch before; a row of NaN for an image not seen then.
        last_batch: the student's of the step before; a row of NaN for an image not in it.
        progress: share of the training that is done, 0..1.

    Only ``student`` and ``twin`` carry gradient.
    """

    targets: Tensor
    student: Outputs
    teacher: Outputs | None = None
    twin: Outputs | None = None
    previous: Outputs | None = None
    patches: Outputs | None = None
    samples: Outputs | None = None
    last_epoch: Outputs | None = None
    last_batch: Outputs | None = None
    progress: float = 1.0
    _made: dict[Callable[["Batch"], Any], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def get(self, need: str) -> Any:
        """The tensor (or tuple of stages) that a need such as ``teacher.logits`` names, or None when absent."""
        source, name = need.split(".")
        outputs = getattr(self, source)
        return None if outputs is None else getattr(outputs, name)

    def once(self, make: Callable[["Batch"], T]) -> T:
        """``make(batch)``, computed once for all terms that ask for it."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]

    def outputs(self) -> dict[str, Outputs]:
        """All outputs that are there, by source."""
        found = {name: getattr(self, name) for name in SOURCES}
        return {name: value for name, value in found.items() if value is not None}

    def map(self, change: Callable[[str, Outputs], Outputs]) -> "Batch":
        """The same with ``change(source, outputs)`` applied to all outputs."""
        changed: dict[str, Any] = {name: change(name, value) for name, value in self.outputs().items()}
        return replace(self, **changed)


#: Where outputs can come from, and those that carry gradient.
SOURCES = tuple(item.name for item in fields(Batch) if item.name not in ("targets", "progress", "_made"))
LEARNED = ("student", "twin")


#: From the printed equation to the released code; a term that does not have one takes the next.
FORMS = ("literal", "paper", "reference")


class Term(ABC):
    """One named part of a loss: a number from a :class:`Batch`.

    The objective hands over everything in float32 at least, outside autocast, detached but for ``student`` and
    ``twin``, gathered from all processes, and only after checking that what ``needs`` names is there.

    Args:
        form: ``reference`` (the authors' released code), ``paper`` (the settled reading of the text) or
            ``literal`` (an equation as printed, where that is something else again), for terms where they differ.

    A term's further keyword arguments, with their defaults, are what a recipe may set in ``distill.options``.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    """Beyond ``student.logits``: ``source.field``, such as ``teacher.logits`` or ``student.embeddings``."""
    relational: ClassVar[bool] = False
    """Compares samples or labels with each other; such terms follow the recipe's ramp."""
    forms: ClassVar[tuple[str, ...]] = ("reference",)
    """Those in which its value differs; asked for another one, it takes the next of ``FORMS`` that it has."""
    paper: ClassVar[str] = "-"
    """Where it was published (read from a class that an entry point names)."""
    weight: ClassVar[float] = 1.0
    """Its weight beside ``bce: 1`` (read from a class that an entry point names)."""

    def __init__(self, form: str = "reference") -> None:
        fitting = FORMS[FORMS.index(form) :]
        self.form = next((name for name in fitting if name in self.forms), self.forms[-1])
        self.layers: nn.Module | None = None

    def build(self, example: Batch) -> None:  # noqa: B027 - most terms have nothing to build
        """Set ``self.layers`` to trainable layers fitting ``example``'s shapes; called once, before training.

        They are trained with the student and thrown away after.
        """

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
        form: the form that the weights belong to, unless a recipe asks for another.
    """

    name: str
    paper: str
    summary: str
    weights: Mapping[str, float]
    form: str = "reference"


TERMS: Registry[type[Term]] = Registry("loss term", "mlkdc.losses.methods", after="mlkdc.losses.plugins")
METHODS: Registry[Method] = Registry("method", "mlkdc.losses.methods", after="mlkdc.losses.plugins")


def add_method(method: Method) -> Method:
    """Register a method under its own name."""
    return METHODS.register(method.name)(method)
