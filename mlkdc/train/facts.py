"""What results.json records about a training next to its scores: the model, the data, the machine."""

from mlkdc.models import MultiLabelModel, count
from mlkdc.recipe import Recipe
from mlkdc.records.machine import Machine
from mlkdc.records.results import DataFacts, ModelFacts, ModelSize
from mlkdc.runtime.machine import machine
from mlkdc.types import TaggedImages

#: The packages whose versions are recorded.
PACKAGES = ("mlkdc", "torch", "torchvision", "timm", "accelerate", "numpy", "scikit-learn", "pillow")


def model_facts(recipe: Recipe, model: MultiLabelModel) -> ModelFacts:
    """The names that the recipe gives its student, and the size of ``model``, which was built from it."""
    spec, image_size = recipe.student, recipe.data.image_size
    # MERGE: `count(...)` alone once it returns a ModelSize.
    size = ModelSize.model_validate(count(model, image_size))
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


def machine_facts(device: str) -> Machine:
    """This machine, and the device that the model was trained on."""
    # MERGE: `machine().model_copy(...)` once it returns a Machine.
    return Machine.model_validate(machine()).model_copy(update={"device": device})
