"""A study's student beside its teacher: both exported, both timed in one run, rows interleaved.

    python benchmarks/latency.py STUDENT_RUN TEACHER_RUN

Writes benchmarks/results/latency.json.
"""

import json
import os
import sys
from pathlib import Path

from study import call

from mlkdc.resources import write_json
from mlkdc.runtime import Manifest

RESULTS = Path(os.path.relpath(Path(__file__).parent)) / "results" / "latency.json"


def main() -> None:
    """Export what is not exported yet, time all, add each model's accuracy."""
    runs = [Path(argument) for argument in sys.argv[1:]]
    if len(runs) != 2:
        sys.exit(__doc__)
    for run in runs:
        if not (run / "export" / "onnx-fp32").is_dir():
            call(["mlkdc", "export", str(run), "--target", "onnx"])
    raw = RESULTS.with_suffix(".raw.json")
    call(["mlkdc", "bench", *map(str, runs), "--passes", "2", "--out", str(raw)])
    figures = json.loads(raw.read_text())
    raw.unlink()
    models = {}
    for role, run in zip(("student", "teacher"), runs, strict=True):
        results = json.loads((run / "results.json").read_text())
        manifest = Manifest.load(run / "export" / "onnx-fp32")
        models[role] = {
            "run": run.name,
            "model": results["model"],
            "method": results["method"],
            "mAP": results["metrics"]["mAP"],
            "scored_on": results["scored_on"],
            "parity": manifest.parity,
            "merge": manifest.merge,
        }
    write_json(RESULTS, {**figures, "models": models})


if __name__ == "__main__":
    main()
