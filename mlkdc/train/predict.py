"""A torch model's probabilities for images on disk, preprocessed as on the device."""

import numpy as np
import torch

from mlkdc.models import MultiLabelModel, memory_format
from mlkdc.train.input.store import ImageStore, batches


@torch.inference_mode()
def predict_pixels(model: MultiLabelModel, pixels: np.ndarray) -> np.ndarray:
    """Probabilities ``float32[n, q]`` of a model in eval mode on the CPU for images ``uint8[n, 3, s, s]``."""
    probabilities: np.ndarray = model(torch.from_numpy(pixels).float()).sigmoid().numpy()
    return probabilities


@torch.inference_mode()
def predict(model: MultiLabelModel, store: ImageStore, batch_size: int = 64) -> np.ndarray:
    """Probabilities ``float32[n, q]`` of n images and q classes, in the order of the store's samples.

    The model runs in eval mode, on the device it is on; its mode is restored afterwards.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    # As in training: other kernels of a GPU or CPU library round differently.
    layout = memory_format(model)
    rows = []
    for _, (images,) in batches(store, batch_size, workers=0, order=None):
        pixels = images.to(device).float().contiguous(memory_format=layout)
        rows.append(model(pixels).float().sigmoid().cpu())
    model.train(was_training)
    return torch.cat(rows).numpy()
