"""From a photo's file to probabilities: how long decoding and resizing take on a device, next to the model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from mlkdc.fit import Fit
from mlkdc.images import open_rgb, square
from mlkdc.runtime.model import Model
from mlkdc.runtime.timing import Clock


@dataclass(frozen=True)
class PhotoTimes:
    """The fields of :class:`mlkdc.records.bench.PhotoTiming`, which says what they are."""

    photos: int
    megapixels: float
    prepare_ms: float
    run_ms: float
    total_ms: float
    p90_ms: float


def time_photos(model: Model, files: Sequence[Path], fit: Fit, clock: Clock = time.perf_counter_ns) -> PhotoTimes:
    """Open each photo, decode and resize it as ``mlkdc predict`` does, and run the model on it, one after another.

    The first one is done once before, untimed: it loads the decoder and warms the model.

    Args:
        model: that is loaded.
        files: at least one.
        fit: as :func:`mlkdc.images.square` takes it.
        clock: nanoseconds.

    Raises:
        UsageError: a file is not an image; names it.
    """
    size = model.spec.image_size
    prepare_ms, run_ms, megapixels = [], [], []
    for number, file in enumerate([files[0], *files]):
        start = clock()
        image = open_rgb(file)
        pixels = square(image, size, fit).transpose(2, 0, 1)[None]
        prepared = clock()
        model.predict(pixels, 1)
        end = clock()
        if number:
            prepare_ms.append((prepared - start) / 1e6)
            run_ms.append((end - prepared) / 1e6)
            megapixels.append(image.width * image.height / 1e6)
    total_ms = np.add(prepare_ms, run_ms)
    return PhotoTimes(
        photos=len(files),
        megapixels=median(megapixels),
        prepare_ms=median(prepare_ms),
        run_ms=median(run_ms),
        total_ms=float(np.median(total_ms)),
        p90_ms=float(np.percentile(total_ms, 90)),
    )
