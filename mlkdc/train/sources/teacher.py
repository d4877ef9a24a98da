"""The teacher."""

import torch

from mlkdc.losses import Outputs
from mlkdc.models import MultiLabelModel, memory_format
from mlkdc.train.input.views import resize
from mlkdc.train.learner import outputs_of
from mlkdc.train.sources.base import SOURCES, Source, SourceContext, Step
from mlkdc.train.teacher_cache import TeacherCache, halved, widened


@SOURCES.register("teacher")
class TeacherSource(Source):
    """A frozen teacher.

    Args:
        model: in any mode; it is put into evaluation.
        image_size: the size at which it looks at the views.
        cache: its outputs of earlier runs, if they are kept.
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
        if "stages" in fields:
            self.cache = None  # feature maps are too large to keep
        self.model.to(device).to(memory_format=self.layout).eval().requires_grad_(False)

    def start(self, epoch: int) -> None:
        """See :class:`Source`."""
        if self.cache is not None:
            self.cache.start(epoch)

    def outputs(self, step: Step) -> Outputs:
        """See :class:`Source`."""
        if self.cache is not None:
            cached = self.cache.get(step.targets, self.fields)
            if cached is not None:
                return cached
        # From the views at their largest: what is resized twice is blurred twice.
        pixels = resize(step.views, self.image_size).contiguous(memory_format=self.layout)
        outputs, _ = outputs_of(self.model, pixels, step.targets, self.fields)
        # Also without a cache: a run must not depend on whether one is kept.
        halves = halved(outputs)
        if self.cache is not None:
            self.cache.put(halves)
        return widened(outputs, halves)

    def finish(self, epoch: int) -> None:
        """See :class:`Source`."""
        if self.cache is not None:
            self.cache.finish(epoch)
