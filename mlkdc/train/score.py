"""results.json: what a trained model is worth, on which data, from what."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from mlkdc.metrics import evaluate, tune_thresholds
from mlkdc.models import MultiLabelModel, model_size
from mlkdc.recipe import Recipe
from mlkdc.runtime.machine import machine, versions
from mlkdc.train.input.store import ImageStore
from mlkdc.train.predict import predict
from mlkdc.types import TaggedImages

PACKAGES = ("mlkdc", "torch", "torchvision", "timm", "accelerate", "numpy", "scikit-learn", "pillow")


def scored_split(data: TaggedImages, trained: Sequence[str]) -> str:
    """The split that figures are given for: test, else val, of those not trained on; else the first there is."""
    return next((name for name in ("test", "val") if name in data.splits and name not in trained), data.splits[0])


def tuning_split(data: TaggedImages, trained: Sequence[str]) -> str:
    """The split on which per-class thresholds are tuned: val unless it was trained on, else the scored one."""
    return "val" if "val" in data.splits and "val" not in trained else scored_split(data, trained)


def score(
    model: MultiLabelModel,
    data: TaggedImages,
    size: int,
    trained: Sequence[str],
    thresholds: np.ndarray | None = None,
) -> dict[str, Any]:
    """Metrics in percent, thresholds and per-class figures, as they stand in results.json.

    Thresholds are tuned on validation images unless given. ``trained``: the splits that were trained on.
    """
    scored, tuned = scored_split(data, trained), tuning_split(data, trained)
    probabilities = predict(model, ImageStore(data.split(scored), size))
    if thresholds is None:
        on = probabilities if scored == tuned else predict(model, ImageStore(data.split(tuned), size))
        thresholds = tune_thresholds(data.targets(tuned), on)
    return {"thresholds_from": tuned, **summarize(data, scored, probabilities, thresholds)}


def summarize(data: TaggedImages, split: str, probabilities: np.ndarray, thresholds: np.ndarray) -> dict[str, Any]:
    """Metrics in percent and per-class figures of probabilities ``[n, q]`` for the pictures of a split."""
    targets = data.targets(split)
    scores = evaluate(targets, probabilities, thresholds)
    per_class = [
        {"name": name, "AP": ap, "positives": int(positives), "threshold": float(threshold)}
        for name, ap, positives, threshold in zip(
            data.classes, scores.per_class_ap, targets.sum(0), thresholds, strict=True
        )
    ]
    return {
        "scored_on": split,
        "thresholds": [float(value) for value in thresholds],
        "metrics": scores.summary,
        "classes_without_positive": scores.classes_without_positive,
        "per_class": per_class,
    }


def describe(recipe: Recipe, model: MultiLabelModel) -> dict[str, Any]:
    """The model's names and sizes, as they stand in results.json."""
    spec, size = recipe.student, recipe.data.image_size
    names = {"model": spec.model, "width": spec.width, "head": spec.head.kind, "image_size": size}
    return {**names, **model_size(model, size).model_dump()}


def provenance(recipe: Recipe, data: TaggedImages, command: str, skipped: list[str], device: str) -> dict[str, Any]:
    """Which command, recipe, data, versions and machine."""
    return {
        "format": 1,
        "name": recipe.name,
        "method": recipe.distill.method,
        "recipe_hash": recipe.hash(),
        "command": command,
        "seed": recipe.seed,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": versions(PACKAGES),
        "machine": {**machine(), "device": device},
        "data": {
            "name": data.name,
            "path": str(data.root),
            "layout": data.layout,
            "images": {name: len(data.split(name)) for name in data.splits},
            "classes": len(data.classes),
            "split_from": data.split_from,
            "skipped": skipped,
        },
    }
