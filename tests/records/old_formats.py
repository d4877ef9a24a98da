"""Files as formats 1 and 2 wrote them, key by key: what the current readers must still understand."""

MACHINE = {"cpu": "x", "cores": 2, "vnni": None, "memory_gib": 8.0, "system": "Linux", "device": "cpu"}
RESULTS_1 = {
    "format": 1,
    "name": "photos",
    "method": "l2d",
    "recipe_hash": "abc",
    "command": "mlkdc distill",
    "seed": 0,
    "started": "2026-01-01T00:00:00+00:00",
    "versions": {"python": "3.11"},
    "machine": MACHINE,
    "data": {
        "name": "photos",
        "path": "/photos",
        "layout": "csv",
        "images": {"train": 3, "test": 1},
        "classes": 1,
        "split_from": "official",
        "skipped": [],
    },
    "seconds": 12.5,
    "teacher": {
        "model": "resnet10t",
        "image_size": 48,
        "run": "teacher",
        "params": 5,
        "macs": 6,
        "metrics": {"mAP": 9.0},
    },
    "model": {
        "model": "mobilenetv2",
        "width": 1.0,
        "head": "compact",
        "image_size": 32,
        "params": 3,
        "params_backbone": 2,
        "params_head": 1,
        "macs": 30,
        "macs_backbone": 20,
        "macs_head": 10,
    },
    "thresholds_from": "val",
    "scored_on": "test",
    "thresholds": [0.4],
    "metrics": {"mAP": 50.0},
    "classes_without_positive": 0,
    "per_class": [{"name": "red", "AP": 50.0, "positives": 2, "threshold": 0.4}],
}
BENCH_1 = {
    "format": 1,
    "command": "mlkdc bench",
    "when": "2026-01-01T00:00:00+00:00",
    "machine": MACHINE,
    "versions": {},
    "image_size": 32,
    "rows": [
        {
            "name": "onnx-fp32",
            "threads": 1,
            "median_ms": 2.0,
            "p90_ms": 3.0,
            "p99_ms": 4.0,
            "min_ms": 1.0,
            "runs": 200,
            "passes": 3,
            "stable": True,
            "size_bytes": 1000,
            "speedup": 2.5,
            "skipped": None,
        },
        {
            "name": "broken",
            "threads": 1,
            **dict.fromkeys(("median_ms", "p90_ms", "p99_ms", "min_ms", "runs", "size_bytes", "speedup")),
            "passes": 0,
            "stable": False,
            "skipped": "no runtime",
        },
    ],
}
FASTER = {"to": "torch eager", "value": 2.5}
FIGURES_2 = {"median_ms": 2.0, "p90_ms": 3.0, "p99_ms": 4.0, "min_ms": 1.0, "runs": 200, "passes": 3}
BENCH_2 = {
    "format": 2,
    "command": "mlkdc bench",
    "when": "2026-01-01T00:00:00+00:00",
    "machine": MACHINE,
    "versions": {"python": "3.11.7", "torch": "2.14"},
    "image_size": 32,
    "rows": [
        {"name": "onnx-fp32", "threads": 1, "size_bytes": 9, "timing": {**FIGURES_2, "stable": True}, "speedup": 2.5},
        {"name": "onnx-int8", "threads": 1, "size_bytes": 9, "timing": {**FIGURES_2, "stable": False}},
        {"name": "broken", "threads": 1, "size_bytes": None, "timing": None, "speedup": None, "skipped": "no runtime"},
    ],
}
EPOCH_1 = {"epoch": 1, "step": 5, "lr": 0.1, "loss": 2.0, "terms": {"bce": 2.0}, "images_per_s": 9.0, "seconds": 1.0}
