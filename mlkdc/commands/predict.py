"""Labels of images, by an exported artifact."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlkdc.data.files import images_below
from mlkdc.errors import UsageError
from mlkdc.records.manifest import Manifest
from mlkdc.runtime import open_artifact
from mlkdc.runtime.predict import predict_files


@dataclass(frozen=True)
class Prediction:
    """An image's labels and their probabilities, most probable first."""

    image: Path
    labels: dict[str, float]


def predict(
    artifact: Path | str,
    images: Sequence[Path | str],
    *,
    top: int | None = None,
    allow_failed: bool = False,
    on_bad: Callable[[Path, UsageError], None] | None = None,
) -> Iterator[Prediction]:
    """Predict the labels of images, one by one, as they are read.

    Args:
        artifact: the artifact's folder.
        images: files, or folders whose images, those of subfolders too, are taken in the order of their names.
        top: that many most probable labels; None = those at or above their tuned thresholds.
        allow_failed: use an artifact that failed its parity check.
        on_bad: called with each image that cannot be read, which is then skipped; None raises its error.

    Raises:
        UsageError: a path is missing, a folder holds no image, an image cannot be read, or the artifact cannot be used.

    Example:
        >>> from mlkdc import predict
        >>> for prediction in predict("runs/photos/export/onnx-fp32", ["photos/images/000.png"], top=2):
        ...     print(prediction.image.name, len(prediction.labels))
        000.png 2
    """
    files = image_files([Path(path) for path in images])
    with open_artifact(artifact, allow_failed=allow_failed) as session:
        for path in files:
            try:
                probabilities = predict_files(session, [path])[0]
            except UsageError as error:
                if on_bad is None:
                    raise
                on_bad(path, error)
                continue
            yield Prediction(path, _labels(probabilities, session.manifest, top))


def _labels(probabilities: np.ndarray, manifest: Manifest, top: int | None) -> dict[str, float]:
    names = _unique(manifest.classes)
    labels = {}
    for index in np.argsort(-probabilities, kind="stable")[:top]:
        probability = float(probabilities[index])
        if top is not None or probability >= manifest.thresholds[index]:
            labels[names[index]] = probability
    return labels


def _unique(classes: Sequence[str]) -> list[str]:
    """The classes; the second one of a name, which an old artifact can have, is numbered so that none is lost."""
    times: Counter[str] = Counter()
    names = []
    for name in classes:
        times[name] += 1
        names.append(name if times[name] == 1 else f"{name} #{times[name]}")
    return names


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and the images of folders and of what lies in them, sorted; hidden folders are left out.

    Raises:
        UsageError: a path is missing, or a folder holds no image.
    """
    files = []
    for path in paths:
        if path.is_dir():
            files += _images_in(path)
        elif path.is_file():
            files.append(path)
        else:
            raise UsageError(f"{path}: no such image file or folder")
    return files


def _images_in(folder: Path) -> list[Path]:
    # All of them, however many: whoever asks for a folder's labels wants no part of them.
    images = sorted(images_below(folder, most_files=math.inf, on_error=_refuse))
    if not images:
        raise UsageError(f"{folder} holds no image; expected files ending in .jpg, .png, .webp or another of Pillow's")
    return images


def _refuse(error: OSError) -> None:
    raise UsageError(f"{error.filename}: cannot be read ({error.strerror or error})") from None
