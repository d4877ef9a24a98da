"""What a source of outputs is, what it needs of a training, and what it is made from."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from accelerate import Accelerator
from torch import Tensor

from mlkdc.losses import Objective, Outputs
from mlkdc.models import MultiLabelModel
from mlkdc.recipe import Recipe
from mlkdc.registry import Registry

#: The only field that most sources have.
LOGITS = frozenset({"logits"})


@dataclass(frozen=True)
class Drawn:
    """The images of a step as they were drawn.

    Args:
        index: ``[b]`` which images of the training set.
        views: ``[b, 3, v, v]`` in 0..255 by their size v: the student's, and those of the sources.
        second_views: other random views of the same images, likewise; empty where no source needs them.
    """

    index: Tensor
    views: Mapping[int, Tensor]
    second_views: Mapping[int, Tensor]


@dataclass(frozen=True)
class Step(Drawn):
    """All that the models of a step look at.

    Args:
        targets: ``[b, q]``.
        pixels: ``[b, 3, s, s]``, the views at the student's size, in its memory layout.
        twins: the second views, likewise, where a source needs them.
        boxes: ``[b, S, 4]`` of the crops, where a source needs them.
    """

    targets: Tensor
    pixels: Tensor
    twins: Tensor | None
    boxes: Tensor | None


@dataclass(frozen=True)
class SourceContext:
    """What a source can be made from.

    Args:
        student: the model in training, on its device.
        recipe: of the training.
        images: how many there are to train on.
        classes: number of labels.
        accelerator: knows the device and the processes.
        teacher: the loaded teacher; None where no term needs one.
        fields: names of the fields of the source's outputs that some term needs.
    """

    student: MultiLabelModel
    recipe: Recipe
    images: int
    classes: int
    accelerator: Accelerator
    teacher: "Source | None" = None
    fields: frozenset[str] = LOGITS


class SourceNeeds:
    """What a training must provide for a source, as its class declares it."""

    second_views: ClassVar[bool] = False
    """A second random view of every image is drawn."""
    boxes: ClassVar[bool] = False
    """Crops of every image are drawn."""
    repeats_images: ClassVar[bool] = False
    """Each step repeats the new images of the step before (:meth:`Source.join`), so that half of a batch is new.

    With ``second_views``, they are drawn at every size at which a model looks at the images.
    """

    @classmethod
    def check(cls, recipe: Recipe) -> None:
        """Raise UsageError where the recipe's models cannot have these outputs; says which setting to change."""


class Source(SourceNeeds, ABC):
    """Something a term compares the student with. All methods run without gradient."""

    image_size: int = 0
    """Side in pixels of the views that it looks at (:attr:`Drawn.views`); 0 = the student's, or none."""

    @classmethod
    @abstractmethod
    def make(cls, context: SourceContext) -> "Source":
        """The source of a training."""

    def start(self, epoch: int) -> None:
        """An epoch begins."""

    def join(self, drawn: Drawn) -> Drawn:
        """Add images to a step, before any model looks at them."""
        return drawn

    @abstractmethod
    def outputs(self, step: Step) -> Outputs:
        """For the images of a step, before the optimizer's update."""

    def learned(self, step: Step, student: Outputs) -> None:
        """Hears the student's outputs of each batch."""

    def updating(self) -> None:
        """The optimizer's update comes next, of which a step may have several batches (``train.accumulate``)."""

    def unseen(self) -> list[int]:
        """The images that no step of this epoch had and that are to be shown to it before :meth:`finish`."""
        return []

    def finish(self, epoch: int) -> None:
        """An epoch has ended."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` returned."""


#: By the name in a term's ``needs``. The student itself is no source.
SOURCES: Registry[type[SourceNeeds]] = Registry("source", "mlkdc.train.sources", after="mlkdc.train.source_plugins")


def check_sources(names: Collection[str], recipe: Recipe) -> None:
    """Check that the recipe's models can have the outputs of these sources.

    Raises:
        UsageError: an unknown source, or a setting that a source cannot do with.
    """
    for name in sorted(names):
        SOURCES.get(name).check(recipe)


def repeats_images(names: Collection[str]) -> bool:
    """Whether the steps of a training with these sources repeat images of the step before."""
    return any(SOURCES.get(name).repeats_images for name in names)


def make_sources(objective: Objective, context: SourceContext) -> dict[str, Source]:
    """All sources that some term needs, by name; without those that the learner takes from the student's pass."""
    sources: dict[str, Source] = {}
    for name in sorted(objective.sources):
        kind = SOURCES.get(name)
        if issubclass(kind, Source):
            sources[name] = kind.make(replace(context, fields=objective.fields(name)))
    return sources
