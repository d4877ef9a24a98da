"""A torch model's probabilities for pictures on disk, preprocessed as on the device."""

import numpy as np
import torch

from mlkdc.models import MultiLabelModel, prefers_channels_last
from mlkdc.train.input.store import ImageStore, batches


@torch.inference_mode()
def predict(model: MultiLabelModel, store: ImageStore, batch_size: int = 64) -> np.ndarray:
    """Probabilities ``float32[n, q]`` in the order of the store's samples, in eval mode (the mode is put back)."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    layout = torch.channels_last if prefers_channels_last(model) else torch.contiguous_format
    rows = []
    for _, images in batches(store, batch_size, workers=0, order=None):
        pixels = images.to(device).float().contiguous(memory_format=layout)
        rows.append(model(pixels).float().sigmoid().cpu())
    model.train(training)
    return torch.cat(rows).numpy()
