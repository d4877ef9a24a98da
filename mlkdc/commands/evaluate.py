"""Scoring a run, or an artifact in its runtime."""

from pathlib import Path

import numpy as np

from mlkdc.commands.halves import require_training
from mlkdc.data import open_data
from mlkdc.data.runs import check_labels, run_data, scored_split
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


def evaluate(folder: Path | str, data: str | None = None, *, allow_failed: bool = False) -> Scores:
    """Score an artifact in its runtime, or a run's model in torch.

    Args:
        folder: of the artifact or the run.
        data: images with the same labels; None = the run's.
        allow_failed: score an artifact although it failed its parity check.

    Returns:
        Metrics in percent, thresholds and per-class figures on the test split (else the validation split, else all).

    Raises:
        UsageError: there is no such folder, its labels are others, or torch is needed and not installed.

    Example:
        >>> from mlkdc import evaluate
        >>> scores = evaluate("runs/photos/export/onnx-fp32", "photos")
        >>> scores.scored_on, 0 <= scores.map_percent <= 100
        ('test', True)
    """
    folder = Path(folder)
    if is_artifact_folder(folder):
        return evaluate_artifact(folder, data, allow_failed=allow_failed)
    run = load_run(folder)
    if allow_failed:
        raise UsageError(f"--allow-failed is for an artifact; {folder} is a run, which has no parity check to fail")
    require_training("scoring a run's torch model")
    from mlkdc.train import evaluate_run

    return evaluate_run(run, data)


def evaluate_artifact(folder: Path, data_path: str | None, *, allow_failed: bool = False) -> Scores:
    """Score an artifact in its runtime, at the thresholds of its manifest.

    Args:
        folder: the artifact.
        data_path: images with the same labels; None = those of the run whose ``export`` folder it lies in.
        allow_failed: score it although it failed its parity check.

    Raises:
        UsageError: there is no such run, or its labels are others.
    """
    with open_artifact(folder, allow_failed=allow_failed) as session:
        manifest = session.manifest
        trained: list[str] = []
        if data_path is None:
            home = folder.resolve().parent.parent  # of RUN/export/onnx-fp32
            if not Run(home).exists:
                raise UsageError(
                    f"{folder} is not in a run's export folder; say which images to score it on: --data PATH"
                )
            run = load_run(home)
            data = run_data(run)
            trained += run.recipe.data.train_splits
        else:
            data = open_data(data_path, split=False)
        check_labels(data, manifest.classes, f"the model in {folder}")
        split = scored_split(data, trained)
        paths = [sample.image for sample in data.split(split)]
        probabilities = predict_files(session, paths)
    thresholds_from = f"{folder.name}/{Manifest.FILE}"
    return summarize(data, split, probabilities, np.array(manifest.thresholds), thresholds_from)
