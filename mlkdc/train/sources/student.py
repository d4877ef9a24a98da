"""What the learner takes from the student's pass: nothing is made for these, but a training must provide for them."""

from mlkdc.errors import UsageError
from mlkdc.recipe import Recipe
from mlkdc.train.sources.base import SOURCES, SourceNeeds


@SOURCES.register("twin")
class Twin(SourceNeeds):
    """The student on a second random view of each image, with gradient (DDGSD)."""

    second_views = True


@SOURCES.register("samples")
class Samples(SourceNeeds):
    """The student with several draws of its head's dropout (uncertainty distillation)."""

    @classmethod
    def check(cls, recipe: Recipe) -> None:
        """See :class:`SourceNeeds`."""
        if not recipe.student.head.dropout:
            raise UsageError(
                f"{recipe.distill.method} compares draws of the head's dropout, which is 0: "
                "`--set student.head.dropout=0.1`"
            )
