"""From a recipe's section to a model with its initial weights."""

from torch import Tensor, nn

from mlkdc.errors import UsageError
from mlkdc.fit import RESIZE, Fit
from mlkdc.models.attention import AttentionHead
from mlkdc.models.heads import DecoderHead, LinearHead
from mlkdc.models.libraries import make_backbone
from mlkdc.models.model import MultiLabelModel
from mlkdc.models.weights import load_initial_weights
from mlkdc.recipe import Head, Model
from mlkdc.records.manifest import Preprocess

#: (embedding size, feed-forward size) of the decoders when the recipe leaves them open.
DEFAULT_SIZES = {"compact": (256, 512), "decoder": (768, 2048)}


def build_model(
    spec: Model, num_classes: int, image_size: int, fit: Fit = "stretch", bias: Tensor | None = None
) -> MultiLabelModel:
    """Build a recipe's model and load its initial weights; random parts follow torch's global seed.

    Args:
        spec: the recipe's ``student`` or ``teacher``.
        num_classes: q, the number of labels.
        image_size: side of the images in pixels.
        fit: how image files become squares of that size.
        bias: ``[q]``, what the head's bias starts at in place of its own, unless the weights are of a complete model.

    Raises:
        UsageError: an unknown name, a width or image size the model does not have, a head whose sizes do not agree,
            or weights that are not reachable or belong to another model.
    """
    backbone = make_backbone(spec.model, spec.width, image_size)
    head = make_head(spec.head, backbone.channels, num_classes)
    mean, std = spec.weights_mean or backbone.mean, spec.weights_std or backbone.std
    preprocess = Preprocess(size=image_size, fit=fit, mean=mean, std=std, resize=RESIZE[fit])
    if bias is not None:
        head.get_parameter("bias").data.copy_(bias)
    model = MultiLabelModel(backbone, head, preprocess)
    load_initial_weights(model, spec)
    return model


def make_head(spec: Head, channels: int, num_classes: int) -> nn.Module:
    """Build the head that a recipe describes, with random weights.

    Args:
        spec: the recipe's ``head``.
        channels: C of the feature map.
        num_classes: q.

    Raises:
        UsageError: ``dim`` is not a multiple of ``heads``.
    """
    if spec.kind == "linear":
        return LinearHead(channels, num_classes, spec.dropout)
    if spec.kind == "attention":
        return AttentionHead(channels, num_classes, spec.residual, spec.dropout)
    default_dim, default_ffn = DEFAULT_SIZES[spec.kind]
    dim, ffn = spec.dim or default_dim, spec.ffn or default_ffn
    if dim % spec.heads:
        raise UsageError(f"head: dim {dim} is not a multiple of heads {spec.heads}; change one of them")
    # The decoder is the paper's as it is.
    shortcut = spec.kind == "compact"
    return DecoderHead(channels, num_classes, dim, ffn, spec.heads, spec.dropout, shortcut)
