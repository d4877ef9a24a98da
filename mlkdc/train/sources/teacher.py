"""The teacher."""

import torch

from mlkdc.errors import MlkdcError
from mlkdc.losses import Outputs
from mlkdc.models import MultiLabelModel, memory_format
from mlkdc.train.learner import outputs_of
from mlkdc.train.sources.base import SOURCES, Source, SourceContext, Step
from mlkdc.train.teacher_cache import TeacherCache, halved, widened


@SOURCES.register("teacher")
class TeacherSource(Source):
    """A frozen teacher.

    Args:
        model: in any mode; it is put into evaluation.
        image_size: the size of the views that it looks at. 0 in a training whose views it has all answered before.
        cache: its answers to views of earlier epochs and runs, if they are kept.
    """

    def __init__(self, model: MultiLabelModel, image_size: int, cache: TeacherCache | None = None) -> None:
        self.model, self.image_size, self.cache = model, image_size, cache
        self.fields: frozenset[str] = frozenset()
        self.layout = memory_format(model)

    @classmethod
    def make(cls, context: SourceContext) -> "TeacherSource":
        """The loaded teacher, moved to the student's device."""
        teacher = context.teacher
        assert isinstance(teacher, TeacherSource)
        teacher.prepare(context.fields, context.accelerator.device)
        return teacher

    def prepare(self, fields: frozenset[str], device: torch.device) -> None:
        """Take note of the fields that terms need, and move to the device."""
        self.fields = fields
        if self.cache is not None and self.cache.complete:
            self.image_size = 0
        self.model.to(device).to(memory_format=self.layout).eval().requires_grad_(False)

    def start(self, epoch: int) -> None:
        """See :class:`Source`.

        Raises:
            MlkdcError: all answers were in the cache when the training began, and now they are not.
        """
        if self.cache is None:
            return
        self.cache.start(epoch)
        if self.cache.collecting and not self.image_size:
            raise MlkdcError(
                f"the teacher's answers were removed from {self.cache.folder} while the training that needs them "
                "ran; resume it, and they are computed again"
            )

    def outputs(self, step: Step) -> Outputs:
        """See :class:`Source`."""
        if self.cache is not None and not self.cache.collecting:
            return self.cache.get(step.index)
        pixels = step.views[self.image_size].contiguous(memory_format=self.layout)
        outputs, _ = outputs_of(self.model, pixels, step.targets, self.fields)
        # Also without a cache: a run must not depend on whether one is kept.
        halves = halved(outputs)
        if self.cache is not None:
            self.cache.put(step.index, halves)
        return widened(outputs, halves)

    def unseen(self) -> list[int]:
        """Those whose answers the cache lacks: the last batch of an epoch, which is dropped where it is not full."""
        if self.cache is None:
            return []
        return self.cache.missing()

    def finish(self, epoch: int) -> None:
        """See :class:`Source`."""
        if self.cache is not None:
            self.cache.finish()
