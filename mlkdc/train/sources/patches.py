"""The student on parts of an image."""

from mlkdc.losses import Outputs
from mlkdc.models import MultiLabelModel, memory_format
from mlkdc.train.input.patches import cut
from mlkdc.train.learner import batch_statistics_only, outputs_of
from mlkdc.train.sources.base import LOGITS, SOURCES, Source, SourceContext, Step


@SOURCES.register("patches")
class Crops(Source):
    """The student's present weights on enlarged crops of each image (MSKD's patches).

    Args:
        model: the student.
        size: to which crops are enlarged, in pixels.
    """

    boxes = True

    def __init__(self, model: MultiLabelModel, size: int) -> None:
        self.model, self.size, self.layout = model, size, memory_format(model)

    @classmethod
    def make(cls, context: SourceContext) -> "Crops":
        """See :class:`Source`."""
        return cls(context.student, context.recipe.data.image_size)

    def outputs(self, step: Step) -> Outputs:
        """``logits [b, S, q]``."""
        assert step.boxes is not None
        images, crops, _ = step.boxes.shape
        pixels = cut(step.pixels, step.boxes, self.size, self.size).contiguous(memory_format=self.layout)
        # Parts of images must not enter the statistics by which complete ones are normalized in evaluation.
        with batch_statistics_only(self.model):
            outputs, _ = outputs_of(self.model, pixels, step.targets, LOGITS)
        return Outputs(outputs.logits.reshape(images, crops, -1))
