"""What a loss term looks at: the labels, and what models made of a batch of images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar, cast

from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Outputs:
    """What one model made of a batch of b images with q classes; None for what no term needs.

    Args:
        logits: ``[b, q]``; of :attr:`Batch.patches` and :attr:`Batch.samples` ``[b, S, q]``.
        embeddings: ``[P, d]``, the label-wise embeddings of the P positive (image, class) pairs only, in the
            row-major order of ``targets.nonzero()``.
        pooled: ``[b, C]``, the mean of the backbone's last feature map over its positions.
        regions: ``[b, S, q]``, the head applied to the S patches' regions of the full image's feature map.
        stages: the backbone's feature maps ``[b, C_i, h_i, w_i]``, one for each resolution, finest first.
    """

    # Declared as always there, which it is for whoever needs it.
    logits: Tensor = None  # type: ignore[assignment]
    embeddings: Tensor | None = None
    pooled: Tensor | None = None
    regions: Tensor | None = None
    stages: tuple[Tensor, ...] | None = None

    def present(self) -> dict[str, Tensor | tuple[Tensor, ...]]:
        """The fields that are there, by name."""
        present = {}
        for name, value in vars(self).items():
            if value is not None:
                present[name] = value
        return present

    def map(self, change: Callable[[Tensor], Tensor]) -> "Outputs":
        """The same with every tensor changed."""
        changed: dict[str, Any] = {}
        for name, value in self.present().items():
            if isinstance(value, tuple):
                changed[name] = tuple(map(change, value))
            else:
                changed[name] = change(value)
        return replace(self, **changed)

    def full_precision(self) -> "Outputs":
        """The same in float32, or in float64 where it is that already."""
        return self.map(_full_precision)

    def detach(self) -> "Outputs":
        """The same, cut off from the gradient."""
        return self.map(Tensor.detach)


def _full_precision(tensor: Tensor) -> Tensor:
    if tensor.element_size() < 4:
        return tensor.float()
    return tensor


@dataclass(frozen=True)
class Batch:
    """All that a term may look at: the labels, and outputs by the source they come from.

    Args:
        targets: ``[b, q]`` of zeros and ones, any dtype; fractions where images are mixed.
        student: its outputs, with gradient.
        teacher: the teacher's.
        twin: the student's on a second random view of the same images, with gradient: ``logits``, ``pooled``.
        previous: the student's on the same views, with its weights of one step ago.
        patches: the student's on S crops of each image: ``logits [b, S, q]``.
        samples: the student's with S draws of its head's dropout: ``logits [b, S, q]``.
        last_epoch: the student's of the epoch before; a row of NaN for an image not seen then.
        last_batch: the student's of the step before, on another view; a row of NaN for an image not in it.
        others: of sources that have no field here, as other packages bring them.
        progress: fraction of the training that is done, 0..1.
        frequency: ``[q]``, the fraction of the training images that have each label; None where it is not known.

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
    others: Mapping[str, Outputs] = field(default_factory=dict)
    progress: float = 1.0
    frequency: Tensor | None = None
    _computed: dict[Callable[["Batch"], object], object] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, targets: Tensor, outputs: Mapping[str, Outputs], progress: float = 1.0) -> "Batch":
        """A batch of outputs by source; those of sources without a field become ``others``."""
        by_field: dict[str, Any] = {}
        others: dict[str, Outputs] = {}
        for source, value in outputs.items():
            if source in SOURCE_FIELDS:
                by_field[source] = value
            else:
                others[source] = value
        return cls(targets, others=others, progress=progress, **by_field)

    def outputs(self) -> dict[str, Outputs]:
        """All outputs that are there, by source."""
        present = dict(self.others)
        for source in SOURCE_FIELDS:
            value = getattr(self, source)
            if value is not None:
                present[source] = value
        return present

    def get(self, need: str) -> Tensor | tuple[Tensor, ...] | None:
        """The tensor (or tuple of stages) that a need such as ``teacher.logits`` names, or None when absent."""
        source, name = need.split(".")
        outputs = self.others.get(source)
        if source in SOURCE_FIELDS:
            outputs = getattr(self, source)
        if outputs is None:
            return None
        return vars(outputs).get(name)

    def once(self, compute: Callable[["Batch"], T]) -> T:
        """``compute(batch)``, computed once for all terms that use it."""
        # Terms of one paper share costly parts, and an objective is free to have any of them.
        if compute not in self._computed:
            self._computed[compute] = compute(self)
        return cast(T, self._computed[compute])

    def map(self, change: Callable[[str, Outputs], Outputs]) -> "Batch":
        """The same with ``change(source, outputs)`` applied to all outputs."""
        changed = {source: change(source, value) for source, value in self.outputs().items()}
        return replace(Batch.of(self.targets, changed, self.progress), frequency=self.frequency)

    def prepared(self) -> "Batch":
        """As terms receive it: in full precision, and without gradient but for what is trained."""
        return self.map(_prepared)


def _prepared(source: str, outputs: Outputs) -> Outputs:
    if source not in LEARNED:
        outputs = outputs.detach()
    return outputs.full_precision()


_REST = ("targets", "others", "progress", "frequency", "_computed")
#: Sources that have a field of a batch, and those that carry gradient.
SOURCE_FIELDS = tuple(item.name for item in fields(Batch) if item.name not in _REST)
LEARNED = ("student", "twin")
