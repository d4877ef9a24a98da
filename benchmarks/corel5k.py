"""Vanilla against L2D on real photos, equal budget; goes on from what its JSON already holds.

    python benchmarks/corel5k.py --data PHOTOS --weights WEIGHTS

PHOTOS: a folder that `mlkdc data` understands. WEIGHTS: a folder with the ImageNet weights
tf_efficientnet_lite0.safetensors and tf_efficientnet_lite2.safetensors. Writes benchmarks/results/corel5k.json.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlkdc.resources import write_json

HERE = Path(os.path.relpath(Path(__file__).parent))
RESULTS = HERE / "results" / "corel5k.json"
RUNS = Path("runs/corel5k")
LITE0, LITE2 = "tf_efficientnet_lite0", "tf_efficientnet_lite2"
# (student, pretrained, seed): the first seed of everything first, so that a stopped study covers all students.
STUDENTS = [
    (LITE0, True, 0),
    ("mobilenetv2", False, 0),
    ("shufflenetv2_x1_0", False, 0),
    ("repvgg_a0", False, 0),
    (LITE0, True, 1),
    ("mobilenetv2", False, 1),
]


def command(arguments: argparse.Namespace, student: str, pretrained: bool, seed: int, method: str) -> list[str]:
    """The command that trains one row."""
    weights = str(arguments.weights / f"{student}.safetensors") if pretrained else "none"
    settings = [f"student.model={student}", f"student.weights={weights}", f"seed={seed}"]
    settings += [f"teacher.weights={arguments.weights / f'{LITE2}.safetensors'}", f"distill.method={method}"]
    settings += ["distill.weights={mld: 10, cd: 10, id: 10}"] if method == "l2d" else []
    return [
        *("mlkdc", "distill", "--recipe", str(HERE / "corel5k.yaml"), "--data", str(arguments.data)),
        *(part for setting in [*settings, *arguments.settings] for part in ("--set", setting)),
    ]


def train(arguments: argparse.Namespace, row: tuple[str, bool, int], method: str) -> dict[str, Any]:
    """Train one row, or go on with it, and return what its results.json says."""
    student, pretrained, seed = row
    folder = RUNS / f"{student}-{method}-seed{seed}"
    full = [*command(arguments, student, pretrained, seed, method), "--out", str(folder)]
    begun = (folder / "recipe.yaml").is_file()
    call = ["mlkdc", "distill", "--resume", str(folder)] if begun else full
    print(shlex.join(call), flush=True)
    subprocess.run([str(Path(sys.executable).parent / call[0]), *call[1:]], check=True)
    results = json.loads((folder / "results.json").read_text())
    shown = [part.replace(str(arguments.data), "PHOTOS").replace(str(arguments.weights), "WEIGHTS") for part in full]
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "student": student,
        "method": method,
        "seed": seed,
        "pretrained": pretrained,
        "command": shlex.join(shown),
        "seconds": results["seconds"],
        "metrics": results["metrics"],
        "mAP_by_epoch": [epoch["mAP"] for epoch in epochs],
        "model": results["model"],
        "teacher": results["teacher"] and {**results["teacher"], "run": Path(results["teacher"]["run"]).name},
        "versions": results["versions"],
        "machine": results["machine"],
        "data": {key: results["data"][key] for key in ("name", "images", "classes", "split_from")},
    }


def stored() -> dict[str, Any]:
    """The study so far."""
    study: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"format": 1, "rows": []}
    return study


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--students", nargs="*", help="only these, so that two processes can share the work")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    arguments = parser.parse_args()
    for row in STUDENTS:
        for method in ("vanilla", "l2d"):
            done = {(item["student"], item["seed"], item["method"]) for item in stored()["rows"]}
            if (row[0], row[2], method) not in done and row[0] in (arguments.students or [row[0]]):
                finished = train(arguments, row, method)
                study = stored()  # read again: another process may have added the row of another student
                write_json(RESULTS, {**study, "rows": [*study["rows"], finished]})


if __name__ == "__main__":
    main()
