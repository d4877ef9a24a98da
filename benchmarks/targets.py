"""Every target and precision for students distilled on real photos: size, accuracy, parity, latency.

    python benchmarks/targets.py --data PHOTOS --weights WEIGHTS [--students mobilenetv2 ...] [--passes 2]

PHOTOS is a folder that `mlkdc data` understands, WEIGHTS one with tf_efficientnet_lite2.safetensors (ImageNet), of
which the teacher is made. For each student: trains and exports what is not there yet, times all artifacts in one run
beside torch eager and beside what is exported without mlkdc, and writes its entry of benchmarks/results/targets.json. A
target that is not installed, or cannot run here, has a row that says why. Students that have an entry are left alone,
unless they are named.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from baselines import STEPS, write
from study import call, stored

from mlkdc.bench import BASELINE, Row, artifact_rows, bench
from mlkdc.commands.artifacts import artifacts
from mlkdc.exporting.several import ALL, choices, export_several
from mlkdc.resources import write_json
from mlkdc.runtime import Manifest
from mlkdc.runtime.machine import vnni
from mlkdc.train import Run, load_run

HERE = Path(os.path.relpath(Path(__file__).parent))
RESULTS = HERE / "results" / "targets.json"
STUDENTS = ("mobilenetv2", "repvgg_a0", "shufflenetv2_x1_0")
KEPT = ("status", "precision", "target", "runtime", "parity", "quantization", "details", "merge", "versions")


def train(student: str, data: Path, weights: Path) -> list[Run]:
    """Both trainings, or what is left of them."""
    folder = Path("runs/targets")
    small, large = folder / f"{student}-96", folder / student
    common = ["mlkdc", "distill", "--recipe", str(HERE / "targets.yaml"), "--data", str(data)]
    common += ["--set", f"student.model={student}"]
    common += ["--set", f"teacher.weights={weights / 'tf_efficientnet_lite2.safetensors'}"]
    after = ["data.image_size=224", f"student.weights={small}/model.safetensors", "train.epochs=2", "train.lr=5e-4"]
    if student == "repvgg_a0":  # see benchmarks/int8.py
        after.append("export.equalize=true")
    if vnni():
        after.append("export.reduce_range=false")
    commands = [
        [*common, "--out", str(small)],
        [*common, *(part for setting in after for part in ("--set", setting)), "--out", str(large)],
    ]
    for command, run in zip(commands, (small, large), strict=True):
        if not Run(run).finished:
            begun = (run / "recipe.yaml").is_file()
            call(["mlkdc", "distill", "--resume", str(run)] if begun else command)
    return [Run(small), Run(large)]


def export(run: Run) -> dict[str, str]:
    """Export what is not there yet; why there is no artifact, by name. One that fails its check stays, marked."""
    wanted = [(t, p) for t, p in choices([ALL], [ALL]) if not (folder_of(run, t, p) / "manifest.json").is_file()]
    made = export_several(run, wanted, say=lambda text: print(text, flush=True))
    faults = {(t, p): str(result) for (t, p), result in made if not isinstance(result, Path)}
    return {f"{t}-{p}": why for (t, p), why in faults.items() if not (folder_of(run, t, p) / "manifest.json").is_file()}


def folder_of(run: Run, target: str, precision: str) -> Path:
    """Where an artifact lies."""
    return run.path / "export" / f"{target}-{precision}"


def measure(run: Run, passes: int, threads: list[int]) -> dict[str, Any]:
    """All artifacts of a run, torch eager and the steps before mlkdc, rows interleaved."""
    steps = [write(run, step, run.path / "baselines" / step) for step in STEPS]
    eager = [sys.executable, "-m", "mlkdc.train.eager", str(run.path)]
    rows = [
        Row(BASELINE, eager, (run.path / "model.safetensors").stat().st_size),
        *artifact_rows([*steps, *artifacts(run)]),
    ]
    size = run.recipe.data.image_size
    return bench(rows, passes=passes, threads=threads, image_size=size, progress=lambda text: print(text, flush=True))


def entry(trained: list[Run], shown: dict[str, str], passes: int) -> dict[str, Any]:
    """All that docs/targets.md shows of one student, which is the last of the runs."""
    run = load_run(trained[-1].path)
    missing = export(run)
    found = measure(run, passes, [1, 2])
    shown = {f"{run.path.resolve()}/export/": "", **shown}
    for row in found["rows"]:
        row["skipped"] = row["skipped"] and _replaced(row["skipped"], shown)
    manifests = {folder.name: Manifest.load(folder) for folder in artifacts(run)}
    results = run.results
    return {
        **found,
        "commands": [_replaced(each.command, shown) for each in trained],
        "seconds": [each.results["seconds"] for each in trained],
        "seed": run.recipe.seed,
        "missing": {name: _replaced(why, shown) for name, why in missing.items()},
        **{key: results[key] for key in ("model", "metrics", "scored_on")},
        "data": {key: results["data"][key] for key in ("name", "images", "classes")},
        "artifacts": {
            name: {key: getattr(manifest, key) for key in KEPT} | {"bytes": manifest.size_bytes}
            for name, manifest in manifests.items()
        },
    }


def _replaced(text: str, shown: dict[str, str]) -> str:
    for path, word in shown.items():
        text = text.replace(path, word)
    return text


def main() -> None:
    """Train, export, measure, one student after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--students", nargs="*", choices=STUDENTS)
    parser.add_argument("--passes", type=int, default=2)
    given = parser.parse_args()
    shown = {str(given.data): "PHOTOS", str(given.weights): "WEIGHTS"}
    done = stored(RESULTS).get("students", {})
    for student in given.students or [name for name in STUDENTS if name not in done]:
        found = entry(train(student, given.data, given.weights), shown, given.passes)
        students = {**stored(RESULTS).get("students", {}), student: found}
        write_json(RESULTS, {"format": 1, "students": students})


if __name__ == "__main__":
    main()
