"""Multi-label models: a timm or torchvision backbone, a head, and the preprocessing that belongs to them."""

from mlkdc.model_names import STUDENTS
from mlkdc.models.attention import AttentionHead
from mlkdc.models.backbone import Backbone
from mlkdc.models.build import build_model, make_head
from mlkdc.models.cost import model_size
from mlkdc.models.files import read_state
from mlkdc.models.heads import DecoderHead, HeadOutput, LinearHead
from mlkdc.models.libraries import check_name, check_width, make_backbone, model_names
from mlkdc.models.model import MultiLabelModel
from mlkdc.models.traits import ParameterGroup, memory_format, parameter_groups, prefers_channels_last
from mlkdc.models.weights import is_complete_model, load_state

__all__ = [
    "STUDENTS",
    "AttentionHead",
    "Backbone",
    "DecoderHead",
    "HeadOutput",
    "LinearHead",
    "MultiLabelModel",
    "ParameterGroup",
    "build_model",
    "check_name",
    "check_width",
    "is_complete_model",
    "load_state",
    "make_backbone",
    "make_head",
    "memory_format",
    "model_names",
    "model_size",
    "parameter_groups",
    "prefers_channels_last",
    "read_state",
]
