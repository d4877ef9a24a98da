"""A run's exported artifacts: found, described, scored and predicted with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.data import open_data
from mlkdc.data.runs import check_labels, scored_split
from mlkdc.errors import UsageError
from mlkdc.images import SUFFIXES
from mlkdc.records.run import Run, load_run
from mlkdc.runtime import Manifest, open_artifact, predict_files
from mlkdc.train.score import summarize


def artifacts(run: Run) -> list[Path]:
    """The run's exported artifact folders, by name."""
    return sorted(path.parent for path in (run.path / "export").glob("*/manifest.json"))


def newest_artifact(run: Run) -> Path:
    """The run's artifact that was written last, of those that passed their parity check; else of the unverified.

    Raises:
        UsageError: it has none.
    """
    for status in ("ok", "unverified"):
        if found := [folder for folder in artifacts(run) if Manifest.load(folder).status == status]:
            return max(found, key=lambda folder: (folder / "manifest.json").stat().st_mtime)
    raise UsageError(
        f"{run.path} has no exported model that passed its check; make one with `mlkdc export {run.path} --target onnx`"
    )


def artifact_lines(manifest: Manifest) -> list[str]:
    """What was merged and how equal the artifact is, in a few lines."""
    merge, parity = manifest.merge, manifest.parity
    lines = [
        f"merged: {merge['branches']} branches, {merge['conv_bn']} conv+BN, normalization "
        f"{'into the first convolution' if merge['normalization'] else 'kept as operations'}"
        f"{', head' if merge['head'] else ''}; largest logit difference {merge['max_logit_difference']:.1e}",
    ]
    for part in ("backbone", "head"):
        lines.append(
            f"{part}: parameters {merge[f'params_{part}_before'] / 1e6:.2f} M -> "
            f"{merge[f'params_{part}_after'] / 1e6:.2f} M, multiply-adds {merge[f'macs_{part}_before'] / 1e6:.1f} M -> "
            f"{merge[f'macs_{part}_after'] / 1e6:.1f} M"
        )
    if manifest.details.get("reduce_range") is False:
        lines.append("int8 weights in their whole range: for Arm, and x86 processors that have VNNI")
    if "images" not in parity:
        return [*lines, f"{manifest.status}: {parity['reason']}"]
    lines.append(
        f"parity on {parity['images']} images: largest probability difference "
        f"{parity['max_probability_difference']:.1e}, label flips {parity['label_flips']}, mAP "
        f"{parity['mAP_artifact']:.2f} against {parity['mAP_torch']:.2f}{_worst(parity)}: {manifest.status}"
    )
    if manifest.status == "unverified":
        lines.append(parity["reason"])
    return lines


def _worst(parity: dict[str, Any]) -> str:
    if parity["worst_class"] is None:
        return ""
    judged = f"the worst of {parity['classes_judged']} classes"
    return f", AP of {parity['worst_class']} {0.0 - parity['worst_class_drop']:+.2f} ({judged})"


def evaluate_artifact(folder: Path, data_path: str | None, *, allow_failed: bool = False) -> dict[str, Any]:
    """Score an artifact through its own runtime, at the thresholds of its manifest.

    Args:
        folder: the artifact.
        data_path: pictures with the same labels; None = those of the run whose ``export`` folder it lies in.
        allow_failed: score it although it failed its parity check.

    Raises:
        UsageError: there is no such run, or its labels are others.
    """
    with open_artifact(folder, allow_failed=allow_failed) as session:
        manifest = session.manifest
        home = folder.resolve().parent.parent
        if data_path is None and not (home / "recipe.yaml").is_file():
            raise UsageError(f"{folder} does not lie in a run's export folder; say on what to score it: --data PATH")
        if data_path is None:
            run = load_run(home)
            data, trained = run.data(), run.recipe.data.train_splits
        else:
            data, trained = open_data(data_path, split=False), []
        check_labels(data, manifest.classes, f"the model in {folder}")
        split = scored_split(data, trained)
        paths = [sample.image for sample in data.split(split)]
        scores = summarize(data, split, predict_files(session, paths), np.array(manifest.thresholds))
    return {**scores, "thresholds_from": f"{folder.name}/manifest.json"}


def image_files(paths: list[Path]) -> list[Path]:
    """The files themselves, and the images of folders (not of their subfolders), sorted.

    Raises:
        UsageError: a path is missing, or a folder holds no image.
    """
    files = []
    for path in paths:
        if path.is_dir():
            found = sorted(item for item in path.iterdir() if item.suffix.lower() in SUFFIXES)
            if not found:
                raise UsageError(f"{path} holds no image; expected files ending in {', '.join(SUFFIXES)}")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise UsageError(f"{path}: no such image file or folder")
    return files


def predict_labels(
    artifact: Path, paths: list[Path], *, top: int | None = None, allow_failed: bool = False
) -> Iterator[tuple[Path, list[tuple[str, float]]]]:
    """For each image its labels and probabilities, most probable first.

    Labels at or above their tuned thresholds, or the ``top`` most probable ones.
    """
    session = open_artifact(artifact, allow_failed=allow_failed)
    manifest = session.manifest
    thresholds = np.array(manifest.thresholds)
    for path in image_files(paths):
        row = predict_files(session, [path])[0]
        order = np.argsort(-row, kind="stable")
        chosen = order[:top] if top else [index for index in order if row[index] >= thresholds[index]]
        yield path, [(manifest.classes[index], float(row[index])) for index in chosen]
    session.close()
