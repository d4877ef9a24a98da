"""Everything random about the images of an epoch: views, second views, crops."""

import torch
from torch import Tensor

from mlkdc.losses import Objective
from mlkdc.recipe import Recipe
from mlkdc.train.input.mix import Mix
from mlkdc.train.input.patches import Patches
from mlkdc.train.input.views import Views, resize
from mlkdc.train.sources import SOURCES, Drawn, Step

#: The second view of an image is of another stream of random numbers than the first.
_SECOND = 1 << 41


class Draws:
    """Draws the views of training images, and second views and crops where a source needs them.

    Args:
        recipe: of the training.
        objective: says which sources there are.
        count: number of training images.
        size: side of the views in pixels, the largest at which any model looks at them.
        layout: of the student's images.
    """

    def __init__(
        self, recipe: Recipe, objective: Objective, count: int, size: int, layout: torch.memory_format
    ) -> None:
        augment, seed = recipe.data.augment, recipe.seed
        self.student_size, self.layout = recipe.data.image_size, layout
        self.views = Views(augment, size, count, seed)
        self.twins: Views | None = None
        self.patches: Patches | None = None
        second_views, boxes = False, "student.regions" in objective.needs
        for name in objective.sources:
            needs = SOURCES.get(name)
            second_views = second_views or needs.second_views
            boxes = boxes or needs.boxes
        if second_views:
            self.twins = Views(augment, size, count, seed + _SECOND)
        if boxes:
            self.patches = Patches(recipe.distill.patches, count, seed)
        self.mix: Mix | None = None
        if augment.mixes:
            self.mix = Mix(augment, count, seed)

    def set_epoch(self, epoch: int) -> None:
        """Draw for all images of one epoch."""
        for part in (self.views, self.twins, self.patches, self.mix):
            if part is not None:
                part.set_epoch(epoch)

    def __call__(self, index: Tensor, images: Tensor) -> Drawn:
        """Views of ``uint8[b, 3, s, s]``, which are the images ``index`` of the training set."""
        twins = None
        if self.twins is not None:
            # Only the student looks at them, at its size: smaller ones cost less where they are kept for the next step.
            twins = self._for_student(self.twins(index, images))
        return Drawn(index, self.views(index, images), twins)

    def step(self, drawn: Drawn, targets: Tensor) -> Step:
        """All that models look at, from the views of a step's images and their labels ``[b, q]``."""
        if self.mix is not None:
            drawn, targets = self.mix(drawn, targets)
        boxes = None
        if self.patches is not None:
            boxes = self.patches.boxes(drawn.index)
        pixels = self._for_student(drawn.views)
        return Step(drawn.index, drawn.views, drawn.twins, targets=targets, pixels=pixels, boxes=boxes)

    def _for_student(self, views: Tensor) -> Tensor:
        return resize(views, self.student_size).contiguous(memory_format=self.layout)
