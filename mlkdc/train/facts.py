"""What results.json records about a training next to its scores: the model and the data."""

from mlkdc.models import MultiLabelModel, model_size
from mlkdc.recipe import Recipe
from mlkdc.records.results import DataFacts, ModelFacts
from mlkdc.types import TaggedImages

#: The packages whose versions are recorded.
PACKAGES = ("mlkdc", "torch", "torchvision", "timm", "accelerate", "numpy", "scikit-learn", "pillow")


def model_facts(recipe: Recipe, model: MultiLabelModel) -> ModelFacts:
    """The names that the recipe gives its student, and the size of ``model``, which was built from it."""
    spec, image_size = recipe.student, recipe.data.image_size
    size = model_size(model, image_size)
    return ModelFacts(
        model=spec.model, width=spec.width, head=spec.head.kind, image_size=image_size, **size.model_dump()
    )


def data_facts(data: TaggedImages, skipped: tuple[str, ...]) -> DataFacts:
    """Where the data came from and how much there is; ``skipped``: paths of unreadable images, not in ``data``."""
    return DataFacts(
        name=data.name,
        path=str(data.root),
        layout=data.layout,
        images={split: len(data.split(split)) for split in data.splits},
        classes=len(data.classes),
        split_from=data.split_from,
        skipped=skipped,
    )
