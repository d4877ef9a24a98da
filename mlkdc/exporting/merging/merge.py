"""From the trained model to the exported one: everything linear is merged, and compared with the original."""

import copy

import torch
from torch import Tensor

from mlkdc.errors import MlkdcError
from mlkdc.exporting.merging.attention import FoldedAttention
from mlkdc.exporting.merging.fold import fold_batchnorm, fold_input_scale, merge_branches
from mlkdc.exporting.merging.head import FoldedHead
from mlkdc.exporting.merging.model import ExportModel
from mlkdc.exporting.merging.trace import tally
from mlkdc.models import AttentionHead, DecoderHead, MultiLabelModel, model_size
from mlkdc.records.manifest import MergeReport

# Of the largest logit. Float32 rounding stays below a tenth of it; a border padded with the wrong value does not.
TOLERANCE = 1e-4


@torch.no_grad()
def merge(model: MultiLabelModel, image_size: int) -> tuple[ExportModel, MergeReport]:
    """Merge branches, BatchNorms and the input normalization into convolutions, fold the head, and prove it.

    Args:
        model: on the CPU; left as it is.
        image_size: side in pixels of the images that the merged model is checked and counted at.

    Returns:
        A new model in eval mode, and what was merged.

    Raises:
        MlkdcError: the merged model's logits differ by more than ``TOLERANCE`` of the largest logit.
    """
    merged = copy.deepcopy(model).eval()
    probes = _probes(image_size)
    size_before, expected = model_size(merged, image_size), merged(probes)

    before = tally(merged, probes[:1])
    merge_branches(merged)
    fold_batchnorm(merged, probes[:1])
    after = tally(merged, probes[:1])
    if isinstance(merged.head, DecoderHead):
        merged.head = FoldedHead(merged.head)
    elif isinstance(merged.head, AttentionHead):
        merged.head = FoldedAttention(merged.head)
    size_after = model_size(merged, image_size)
    # Last: the branches that take the image must have become one convolution first.
    scale = 1 / merged.std.flatten()
    scale_is_folded = fold_input_scale(merged.backbone, merged.normalize(probes[:1]), scale)
    exported = ExportModel(merged.backbone, merged.head, merged.mean, None if scale_is_folded else scale).eval()
    return exported, MergeReport(
        branches=before.branches - after.branches,
        conv_bn=before.norms - after.norms,
        normalization=scale_is_folded,
        head=isinstance(merged.head, FoldedHead),
        before=size_before,
        after=size_after,
        max_logit_difference=_checked_difference(exported.logits(probes), expected),
    )


def _checked_difference(logits: Tensor, expected: Tensor) -> float:
    """The largest difference, which must be within ``TOLERANCE``."""
    difference = (logits - expected).abs().max().item()
    largest = expected.abs().max().item()
    # "not <=" and not ">": a NaN on either side must not pass.
    if not difference <= TOLERANCE * largest:
        raise MlkdcError(
            f"merging changed the model: logits differ by up to {difference:.2g}, expected at most {TOLERANCE:g} of "
            f"the largest one ({largest:.3g}); this is a fault in merging this architecture, please report it"
        )
    return difference


def _probes(size: int) -> Tensor:
    """Noise, and what shows a border that is padded wrongly: flat images and frames of 0 and of 255."""
    noise = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0)) * 255
    probes = torch.cat([noise, torch.zeros_like(noise[:1]), torch.full_like(noise[:1], 255)])
    frame = torch.ones(size, size, dtype=torch.bool)
    frame[2:-2, 2:-2] = False
    probes[1, :, frame] = 0.0
    probes[2, :, frame] = 255.0
    return probes
