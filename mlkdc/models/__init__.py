"""Multi-label models: a timm or torchvision backbone, a head, and the preprocessing that belongs to them."""

from mlkdc.models.backbone import STUDENTS, Backbone, check_name, make_backbone, model_names
from mlkdc.models.heads import DecoderHead, HeadOutput, LinearHead, make_head
from mlkdc.models.model import MultiLabelModel, build_model, count, parameter_groups, prefers_channels_last
from mlkdc.models.weights import load_state, read_state

__all__ = [
    "STUDENTS",
    "Backbone",
    "DecoderHead",
    "HeadOutput",
    "LinearHead",
    "MultiLabelModel",
    "build_model",
    "check_name",
    "count",
    "load_state",
    "make_backbone",
    "make_head",
    "model_names",
    "parameter_groups",
    "prefers_channels_last",
    "read_state",
]
