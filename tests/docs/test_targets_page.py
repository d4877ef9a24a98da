"""docs/targets.md of made-up figures: what failed, is missing, not finite or not timed is said, no ratio is lost."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_docs import load

MERGE = {"branches": 2, "conv_bn": 3, "max_logit_difference": 1e-5}
MERGE |= {f"macs_{part}_{when}": 2e6 for part in ("backbone", "head") for when in ("before", "after")}
PARITY = {
    "images": 100,
    "mAP_torch": 40.0,
    "mAP_artifact": 39.8,
    "mAP_drop": 0.2,
    "worst_class": "cat",
    "worst_class_drop": 3.0,
}
PARITY |= {"max_probability_difference": 0.01, "label_flips": 10}
BROKEN = dict.fromkeys(PARITY) | {"images": 100}


def artifact(parity: dict[str, Any], status: str = "ok", steps: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    quantization = {"steps": steps} if steps else None
    details = {"reduce_range": False} if steps else {}
    found = {"parity": parity, "status": status, "merge": MERGE, "versions": {"onnx": "1"}, "details": details}
    return found | {"quantization": quantization}


def row(
    name: str, threads: int, ms: float | None, *, stable: bool = True, skipped: str | None = None
) -> dict[str, Any]:
    timed = {"median_ms": ms, "stable": stable, "skipped": skipped, "size_bytes": 2e6, "passes": 2, "runs": 200}
    return {"name": name, "threads": threads, **timed}


@pytest.fixture
def study(tmp_path: Path) -> dict[str, Any]:
    times = {
        "today": 12.0,
        "small head": 8.0,
        "merged": 6.0,
        "torch eager": 30.0,
        "onnx-fp32": 4.0,
        "openvino-int8": 2.0,
    }
    rows = [row(name, threads, ms / threads) for threads in (1, 2) for name, ms in times.items()]
    rows += [row("ncnn-fp32", threads, 9.0, stable=False) for threads in (1, 2)]
    rows += [row("onnx-int8", threads, None, skipped="is a failed export") for threads in (1, 2)]
    steps = [{"step": "first", **BROKEN, "passed": False}, {"step": "second", **PARITY, "passed": False}]
    found = {
        "rows": rows,
        "artifacts": {
            "ncnn-fp32": artifact(PARITY),
            "onnx-fp32": artifact(PARITY | {"mAP_drop": 0.0}),
            "onnx-int8": artifact(BROKEN, "failed", steps),
            "openvino-int8": artifact(PARITY),
        },
        "missing": {"litert-fp32": "needs litert-torch"},
        "data": {"name": "photos", "images": {"train": 10}, "classes": 4},
        "metrics": {"mAP": 40.0},
        **{"scored_on": "val", "seconds": [60, 120], "image_size": 224, "seed": 0, "commands": ["mlkdc distill"]},
        **{"machine": {"cpu": "x", "cores": 2, "vnni": True, "memory_gib": 4}, "versions": {"torch": "2"}},
    }
    return {"students": {"mobilenetv2": found}}


def test_made_up_figures(study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render: Any = load("render_targets")
    monkeypatch.setattr(render, "INT8", tmp_path / "none.json")
    text = "\n".join(render.measured(json.loads(json.dumps(study))))
    # 12 / 2, as with two threads 6 / 1.
    assert "with 1 thread 6.00 times (`openvino-int8`): met; with 2 threads 6.00 times (`openvino-int8`): met" in text
    assert "| ncnn-fp32 | 2.0 | 39.80 | 0.20 | -3.00 | 1.0e-02 | 2.50 | ok | 9.00 * | 1.33 | 9.00 * | 0.67 |" in text
    assert "| onnx-int8 | 2.0 | - | - | - | - | - | failed | - | - | - | - |" in text
    assert "- `litert-fp32` skipped: needs litert-torch" in text
    assert "- `onnx-int8` skipped: is a failed export" in text
    steps = [
        line
        for line in text.splitlines()
        if line.startswith(("| today | d", "| small", "| merged", "| onnx-fp32 | what"))
    ]
    assert [line.split(" | ")[3].strip() for line in steps] == ["", "1.50", "1.33", "1.50"]
    assert "| onnx-int8 | int8: not shipped, see above |" in text
    assert "| openvino-int8 | the fastest runtime and precision | 2.00 | 2.00 | 1.00 | 2.00 |" in text
    assert "| first | - | - | - | no |" in text


def test_timings_that_did_not_settle_are_marked(study: dict[str, Any]) -> None:
    render: Any = load("render_targets")
    found = study["students"]["mobilenetv2"]
    for timed in found["rows"]:
        timed["stable"] &= timed["name"] != "today" or timed["threads"] == 1
    said = render.verdict("mobilenetv2", found)
    assert "6.00 times (`openvino-int8`): met; with 2 threads 6.00 times (`openvino-int8`, timings that did not" in said


def test_a_missed_aim_is_told(study: dict[str, Any]) -> None:
    render: Any = load("render_targets")
    found = study["students"]["mobilenetv2"]
    found["artifacts"]["openvino-int8"]["parity"] = PARITY | {"mAP_artifact": 39.4}
    assert "3.00 times (`onnx-fp32`): missed by 1.00" in render.verdict("mobilenetv2", found)


def test_what_int8_is_worth_is_told_of_the_processor_and_of_the_artifacts(study: dict[str, Any]) -> None:
    render: Any = load("render_targets")
    found = study["students"]["mobilenetv2"]
    assert "`export.reduce_range: false`" in "".join(render.worth(study))
    assert ", VNNI," in render.origin([found])
    found["artifacts"]["onnx-int8"]["details"] = {"reduce_range": True}
    assert render.worth(study) == []  # nothing is claimed of a mixture
    found["machine"]["vnni"] = False
    assert "half of a weight's range unused" in "".join(render.worth(study))
    found["artifacts"]["openvino-int8"]["details"] = {"reduce_range": False}
    assert render.worth(study) == []


def test_what_was_reached_without_vnni_is_told(study: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    render: Any = load("render_targets")
    path = tmp_path / "other.json"
    monkeypatch.setattr(render, "WITHOUT", path)
    assert render.without_vnni() == []
    path.write_text(json.dumps(study))
    assert "- MobileNetV2: Aim: 4 times" in "\n".join(render.without_vnni())
