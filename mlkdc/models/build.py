"""From a recipe's section to a model with its initial weights."""

from mlkdc.fit import RESIZE, Fit
from mlkdc.models.heads import make_head
from mlkdc.models.libraries import make_backbone
from mlkdc.models.model import MultiLabelModel
from mlkdc.models.weights import load_initial_weights
from mlkdc.recipe import Model
from mlkdc.records.manifest import Preprocess


def build_model(spec: Model, num_classes: int, image_size: int, fit: Fit = "stretch") -> MultiLabelModel:
    """Build a recipe's model and load its initial weights; random parts follow torch's global seed.

    Args:
        spec: the recipe's ``student`` or ``teacher``.
        num_classes: q, the number of labels.
        image_size: side of the images in pixels.
        fit: how image files become squares of that size.

    Raises:
        UsageError: an unknown name, a width or image size the model does not have, a head whose sizes do not agree,
            or weights that are not reachable or belong to another model.
    """
    backbone = make_backbone(spec.model, spec.width, image_size)
    head = make_head(spec.head, backbone.channels, num_classes)
    preprocess = Preprocess(size=image_size, fit=fit, mean=backbone.mean, std=backbone.std, resize=RESIZE[fit])
    model = MultiLabelModel(backbone, head, preprocess)
    load_initial_weights(model, spec)
    return model
