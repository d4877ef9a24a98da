"""Scoring a run, or an artifact in its runtime."""

from pathlib import Path

import numpy as np

from mlkdc.commands.halves import require_training
from mlkdc.data.runs import Say, check_labels, warn
from mlkdc.data.scoring import ScoredImages, other_images, own_images
from mlkdc.errors import UsageError
from mlkdc.metrics import summarize
from mlkdc.records.manifest import Manifest
from mlkdc.records.results import Scores
from mlkdc.records.run import Run, load_run
from mlkdc.runtime import open_artifact
from mlkdc.runtime.predict import predict_files


def is_artifact_folder(folder: Path) -> bool:
    """Whether a folder is to be read as an artifact and not as a run."""
    return (folder / Manifest.FILE).is_file()


def evaluate(folder: Path | str, data: str | None = None, *, allow_failed: bool = False, say: Say = warn) -> Scores:
    """Score an artifact in its runtime, or a run's model in torch.

    Args:
        folder: of the artifact or the run.
        data: images with the model's labels, or some of them; None = the run's. Images that the run was trained on
            are left out, by name or content.
        allow_failed: score an artifact although it failed its parity check.
        say: hears what is left out, and what has changed since the training.

    Returns:
        Metrics in percent, thresholds and per-class figures on the test split (else the validation split, else all).

    Raises:
        UsageError: there is no such folder, the data has other labels, or torch is needed and not installed.

    Example:
        >>> from mlkdc import evaluate
        >>> scores = evaluate("runs/photos/export/onnx-fp32", "photos")
        >>> scores.scored_on, 0 <= scores.map_percent <= 100
        ('test', True)
    """
    folder = Path(folder)
    if is_artifact_folder(folder):
        return evaluate_artifact(folder, data, allow_failed=allow_failed, say=say)
    run = load_run(folder)
    if allow_failed:
        raise UsageError(f"--allow-failed is for an artifact; {folder} is a run, which has no parity check to fail")
    require_training("scoring a run's torch model")
    from mlkdc.train import evaluate_run

    return evaluate_run(run, data, say)


def evaluate_artifact(folder: Path, data_path: str | None, *, allow_failed: bool = False, say: Say = warn) -> Scores:
    """Score an artifact in its runtime, at the thresholds of its manifest.

    Args:
        folder: the artifact.
        data_path: as of :func:`evaluate`; None = those of the run whose ``export`` folder it lies in.
        allow_failed: score it although it failed its parity check.
        say: as of :func:`evaluate`.

    Raises:
        UsageError: there is no such run, or its labels are others.
    """
    with open_artifact(folder, allow_failed=allow_failed) as session:
        manifest = session.manifest
        images = artifact_images(folder, data_path, manifest, say)
        probabilities = predict_files(session, images.paths)
    thresholds_from = f"{folder.resolve().name}/{Manifest.FILE}"  # "." has no name
    return summarize(images.data, images.split, probabilities, np.array(manifest.thresholds), thresholds_from)


def artifact_images(folder: Path, data_path: str | None, manifest: Manifest, say: Say) -> ScoredImages:
    """The images on which an artifact is scored. Arguments and errors are those of :func:`evaluate_artifact`."""
    home = Run(folder.resolve().parent.parent)  # of RUN/export/onnx-fp32
    if data_path is not None:
        run = None
        if home.finished and home.classes == manifest.classes:
            run = home
        return other_images(data_path, manifest.classes, run, say)
    if not home.exists:
        raise UsageError(f"{folder} is not in a run's export folder; say which images to score it on: --data PATH")
    images = own_images(load_run(home.path), say)
    check_labels(images.data, manifest.classes, f"the model in {folder}")
    return images
