"""Everything random about the images of an epoch: views, second views, crops."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlkdc.losses import Objective
from mlkdc.recipe import Recipe
from mlkdc.train.input.mix import Mix
from mlkdc.train.input.patches import Patches
from mlkdc.train.input.views import Views
from mlkdc.train.sources import SOURCES, Drawn, Step, repeats_images

#: The second view of an image is of another stream of random numbers than the first.
_SECOND = 1 << 41


def views_seed(recipe: Recipe) -> int:
    """The seed of a training's views: their own, or the run's."""
    if recipe.data.augment.seed is None:
        return recipe.seed
    return recipe.data.augment.seed


class Draws:
    """Draws the views of training images, and second views and crops where a source needs them.

    Args:
        recipe: of the training.
        objective: says which sources there are.
        count: number of training images.
        sizes: sides of the views in pixels at which models look at them, the student's first.
        layout: of the student's images.
    """

    def __init__(
        self, recipe: Recipe, objective: Objective, count: int, sizes: Sequence[int], layout: torch.memory_format
    ) -> None:
        augment, seed = recipe.data.augment, views_seed(recipe)
        self.sizes, self.layout = tuple(sizes), layout
        self.views = Views(augment, count, seed)
        self.second_views: Views | None = None
        self.second_sizes: tuple[int, ...] = ()
        self.patches: Patches | None = None
        boxes = "student.regions" in objective.needs
        for name in objective.sources:
            needs = SOURCES.get(name)
            boxes = boxes or needs.boxes
            if needs.second_views:
                self.second_views = Views(augment, count, seed + _SECOND)
                # Only the student looks at them, unless they take the place of the first ones later.
                self.second_sizes = self.sizes[:1]
        if self.second_views is not None and repeats_images(objective.sources):
            self.second_sizes = self.sizes
        if boxes:
            self.patches = Patches(recipe.distill.patches, count, recipe.seed)
        self.mix: Mix | None = None
        if augment.mixes:
            self.mix = Mix(augment, count, seed)

    def set_epoch(self, epoch: int) -> None:
        """Draw for all images of one epoch."""
        for part in (self.views, self.second_views, self.patches, self.mix):
            if part is not None:
                part.set_epoch(epoch)

    def __call__(self, index: Tensor, images: Sequence[Tensor]) -> Drawn:
        """Views of the images ``index`` of the training set, each size of its own ``uint8[b, 3, s, s]``."""
        views, second_views = {}, {}
        for size, stored in zip(self.sizes, images, strict=True):
            views[size] = self.views(index, stored, size)
            if self.second_views is not None and size in self.second_sizes:
                second_views[size] = self.second_views(index, stored, size)
        return Drawn(index, views, second_views)

    def step(self, drawn: Drawn, targets: Tensor) -> Step:
        """All that models look at, from the views of a step's images and their labels ``[b, q]``."""
        if self.mix is not None:
            drawn, targets = self.mix(drawn, targets)
        boxes = None
        if self.patches is not None:
            boxes = self.patches.boxes(drawn.index)
        student = self.sizes[0]
        pixels, twins = self._laid_out(drawn.views[student]), None
        if drawn.second_views:
            twins = self._laid_out(drawn.second_views[student])
        return Step(drawn.index, drawn.views, drawn.second_views, targets, pixels, twins, boxes)

    def _laid_out(self, views: Tensor) -> Tensor:
        return views.contiguous(memory_format=self.layout)
