"""Synthetic run folders, written as the training, the export and the benchmark write them."""

import json
import random
from pathlib import Path
from typing import Any

import yaml

from mlkdc.recipe import Recipe, Teacher

MACHINE = {
    "cpu": "Some CPU @ 2.50 GHz",
    "cores": 2,
    "memory_gib": 23.5,
    "system": "Linux 6.1",
    "device": "cpu",
}
VERSIONS = {"torch": "2.15.0", "timm": "1.0.31", "numpy": "2.3.1"}
AWKWARD = ["<b>bold</b>", "salt & pepper", "naïve 東京", "a|b", "back`tick_and*star", '"quoted"']
EPOCHS = 24


def class_names(count: int) -> list[str]:
    """The awkward names first, then plain ones."""
    return (AWKWARD + [f"class {number}" for number in range(count)])[:count]


def results(count: int = 20, seed: int = 0) -> dict[str, Any]:
    """A results.json with ``count`` classes, the last without a positive image."""
    draw = random.Random(seed)
    decided = ["OP", "OR", "OF1", "CP", "CR", "CF1"]
    names = ["mAP", *decided, *(f"{name}@tuned" for name in decided), "OF1@n", "CF1@n", "P@1", "R@1"]
    classes = [
        {
            "name": name,
            "AP": draw.uniform(5, 99),
            "positives": draw.randint(1, 900),
            "threshold": draw.uniform(0.1, 0.9),
        }
        for name in class_names(count)
    ]
    classes[-1] |= {"AP": None, "positives": 0, "threshold": 0.5}
    return {
        "format": 1,
        "name": "l2d-mobilenet",
        "method": "l2d",
        "recipe_hash": "0123456789ab",
        "command": "mlkdc distill --recipe l2d-mobilenet --data 'my photos/'",
        "seed": 0,
        "started": "2026-11-21T12:30:00+00:00",
        "seconds": 1234.5,
        "versions": VERSIONS,
        "machine": MACHINE,
        "data": {
            "name": "my photos",
            "path": "my photos/",
            "layout": "csv",
            "images": {"train": 3512, "val": 490, "test": 997},
            "classes": count,
            "split_from": "official",
            "skipped": ["broken/one & two.jpg"],
        },
        "model": {
            "model": "mobilenetv2",
            "width": 1.0,
            "head": "compact",
            "image_size": 224,
            "params": 3_412_345,
            "params_backbone": 2_223_872,
            "params_head": 1_188_473,
            "macs": 355_123_456,
            "macs_backbone": 299_123_456,
            "macs_head": 56_000_000,
        },
        "teacher": {
            "model": "resnet101",
            "image_size": 448,
            "run": "runs/teacher-0123",
            "params": 47_123_456,
            "macs": 31_400_000_000,
            "metrics": {name: draw.uniform(70, 95) for name in names},
        },
        "scored_on": "test",
        "thresholds_from": "val",
        "thresholds": [item["threshold"] for item in classes],
        "metrics": {name: draw.uniform(40, 90) for name in names},
        "per_class": classes,
    }


def history(epochs: int = EPOCHS) -> list[dict[str, Any]]:
    """metrics.jsonl: falling terms of very different size, a one-cycle rate, a rising mAP."""
    draw = random.Random(1)
    entries = []
    for epoch in range(1, epochs + 1):
        terms = {
            "bce": 40 / epoch**0.7,
            "mld": 9 / epoch**0.5,
            "cd": 0.8 / epoch**0.3,
            "id": 0.3 + draw.uniform(0, 0.05),
        }
        entries.append(
            {
                "epoch": epoch,
                "step": 40 * epoch,
                "lr": 1e-4 * min(epoch / 5, (epochs + 1 - epoch) / (epochs - 4)),
                "loss": sum(terms.values()),
                "terms": terms,
                "images_per_s": draw.uniform(60, 70),
                "seconds": 52.0,
                "mAP": 80 - 60 / epoch**0.6,
            }
        )
    return entries


def quantization() -> dict[str, Any]:
    """Two steps of the int8 ladder."""
    steps = []
    for name, keep, drop in (("outliers clipped", [], 7.5), ("head in float", ["backbone.stem", "head"], 3.1)):
        figures = {"mAP_artifact": 78.12 - drop, "mAP_drop": drop, "worst_class": "zebra", "worst_class_drop": 2 * drop}
        steps.append({"step": name, "clip": True, "keep": keep, **figures, "passed": False})
    return {"calibration": {"images": 256, "split": "train", "seed": 0}, "equalize": False, "steps": steps}


def manifest(name: str, classes: list[str], drop: float = 0.0, passed: bool = True) -> dict[str, Any]:
    """One artifact's manifest.json, of ``onnx-fp32`` or the like."""
    target, _, precision = name.rpartition("-")
    size = {"fp32": 13_650_000, "fp16": 6_900_000, "int8": 3_600_000}[precision]
    merge = {"branches": 22, "conv_bn": 52, "normalization": True, "head": True, "max_logit_difference": 3.2e-6}
    merge |= {"params_before": 3_412_345, "params_after": 3_378_233}
    merge |= {"params_backbone_before": 2_223_872, "params_backbone_after": 2_189_760}
    merge |= {"params_head_before": 1_188_473, "params_head_after": 1_188_473}
    merge |= {"macs_before": 355_123_456, "macs_after": 341_000_000}
    merge |= {"macs_backbone_before": 299_123_456, "macs_backbone_after": 285_000_000}
    merge |= {"macs_head_before": 56_000_000, "macs_head_after": 56_000_000}
    return {
        "format": 1,
        "name": "l2d-mobilenet",
        "target": target,
        "runtime": "onnxruntime",
        "precision": precision,
        "files": {"model.onnx": {"sha256": "0" * 64, "bytes": size}},
        "classes": classes,
        "thresholds": [0.5] * len(classes),
        "preprocess": {"size": 224, "color": "RGB", "range": "0..255"},
        "input": {"name": "image", "shape": [1, 3, 224, 224], "layout": "NCHW", "dtype": "float32"},
        "output": {"name": "probabilities", "shape": [1, len(classes)], "dtype": "float32"},
        "dynamic_batch": False,
        "recipe_hash": "0123456789ab",
        "versions": {"onnx": "1.23.2"},
        "created": "2026-11-21T13:00:00+00:00",
        "merge": merge,
        "details": {},
        "quantization": quantization() if precision == "int8" else None,
        "parity": {
            "images": 490,
            "max_probability_difference": 4.1e-6 if passed else 0.31,
            "label_flips": 0 if passed else 77,
            "mAP_torch": 78.12,
            "mAP_artifact": 78.12 - drop,
            "mAP_drop": drop,
            "worst_class": "zebra",
            "worst_class_drop": 2 * drop,
            "tolerance": {"probability": 1e-3, "label_flips": 0.1, "map": 0.1, "class_ap": 5},
            "passed": passed,
            "reason": None if passed else "probabilities differ by 0.31, at most 0.001 allowed",
        },
        "status": "ok" if passed else "failed",
    }


def bench() -> dict[str, Any]:
    """bench.json: torch eager and three artifacts at 1 and 2 threads, one row unstable, one skipped."""
    rows = []
    eager = {1: 41.2, 2: 26.8}
    times = {"torch eager": 1.0, "onnx-fp32": 0.239, "onnx-fp16": 0.31, "onnx-int8": 0.149}
    sizes = {"torch eager": None, "onnx-fp32": 13_650_000, "onnx-fp16": 6_900_000, "onnx-int8": 3_600_000}
    for name, share in times.items():
        for threads, base in eager.items():
            median = base * share
            row = {"name": name, "threads": threads, "median_ms": median, "min_ms": median * 0.96}
            row |= {"p90_ms": median * 1.08, "p99_ms": median * 1.31, "runs": 600, "passes": 3}
            row |= {"stable": (name, threads) != ("onnx-fp16", 2), "size_bytes": sizes[name]}
            rows.append(row | {"speedup": 1 / share, "skipped": None})
    gone = dict.fromkeys(["median_ms", "p90_ms", "p99_ms", "min_ms", "runs", "speedup"])
    gone |= {"passes": 0, "stable": False}
    rows.append(
        {"name": "openvino-fp32", "threads": 1, **gone, "size_bytes": None, "skipped": "openvino is not installed"}
    )
    return {
        "format": 1,
        "command": "mlkdc bench runs/l2d-mobilenet",
        "when": "2026-11-21T14:00:00+00:00",
        "machine": MACHINE | {"cpu": "Another CPU"},
        "versions": VERSIONS | {"onnxruntime": "1.31.1"},
        "image_size": 224,
        "rows": rows,
    }


def write_minimal(folder: Path, values: dict[str, Any] | None = None) -> Path:
    """A run without a teacher that was trained and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(Recipe(name="plain").to_yaml())
    write_json(folder / "results.json", values or results() | {"teacher": None, "method": "vanilla"})
    write_lines(folder / "metrics.jsonl", history())
    return folder


def write_full(folder: Path, count: int = 20) -> Path:
    """A run with a teacher, three artifacts (one out of tolerance) and a benchmark."""
    values = results(count)
    write_minimal(folder, values)
    recipe = Recipe(name="l2d-mobilenet", teacher=Teacher(model="resnet101"))
    (folder / "recipe.yaml").write_text(recipe.to_yaml())
    names = [item["name"] for item in values["per_class"]]
    for name, drop, passed in (("onnx-fp32", 0, True), ("onnx-fp16", 0.04, True), ("onnx-int8", 3.1, False)):
        (folder / "export" / name).mkdir(parents=True)
        write_json(folder / "export" / name / "manifest.json", manifest(name, names, drop, passed))
    write_json(folder / "bench.json", bench())
    return folder


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def write_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def read_recipe(folder: Path) -> Any:
    return yaml.safe_load((folder / "recipe.yaml").read_text())
