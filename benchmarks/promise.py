"""How often do limits that held on some images break on others? Twenty random halves of the images of the check.

    OMP_NUM_THREADS=1 python benchmarks/promise.py RUN

RUN is a finished run with int8 artifacts. Each answers all images of the check once. Then each half is judged as an
export judges all of them. What is not repeated is the choice of the ladder's step, which saw both halves. The
figures go to benchmarks/results/promise.json.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from promise_records import Draw, HalfFigures, PromiseRow, PromiseStudy

from mlkdc.exporting.known import reference_of
from mlkdc.exporting.parity import answers_of, compare
from mlkdc.exporting.reference import Reference
from mlkdc.records.manifest import Manifest
from mlkdc.records.parity import Tolerance
from mlkdc.records.run import load_run
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions
from mlkdc.runtime.targets import load_target

RESULTS = Path(__file__).parent / "results" / "promise.json"
DRAWS = 20
PACKAGES = ("mlkdc", "torch", "onnxruntime", "openvino", "ai-edge-litert", "executorch")


def half_figures(
    reference: Reference, answers: np.ndarray, thresholds: np.ndarray, tolerance: Tolerance, rows: np.ndarray
) -> HalfFigures:
    """Of the images in ``rows``, as an export judges them.

    Args:
        answers: ``float32[n, q]`` of the artifact, to all images of the reference.
        thresholds: ``float[q]``.
    """
    half = replace(
        reference,
        targets=reference.targets[rows],
        pixels=reference.pixels[rows],
        probabilities=reference.probabilities[rows],
        files=(),
    )
    parity = compare(half, answers[rows], thresholds, tolerance, "")
    figures = parity.figures
    assert figures is not None, parity.reason
    assert figures.worst_class is not None
    assert figures.worst_class_interval_points is not None
    return HalfFigures(
        held=bool(parity.passed),
        map_drop_points=figures.map_drop_points,
        worst_class=figures.worst_class,
        worst_class_drop_points=figures.worst_class_drop_points,
        worst_class_upper_points=figures.worst_class_interval_points[1],
        classes_judged=figures.classes_judged,
    )


def halved(reference: Reference, answers: np.ndarray, thresholds: np.ndarray, tolerance: Tolerance) -> tuple[Draw, ...]:
    """The same halves for every artifact of a run. Arguments as of :func:`half_figures`."""
    random = np.random.default_rng(0)
    count = len(reference.targets)
    draws = []
    for _ in range(DRAWS):
        order = random.permutation(count)
        judged, other = np.sort(order[: count // 2]), np.sort(order[count // 2 :])
        draws.append(
            Draw(
                judged=half_figures(reference, answers, thresholds, tolerance, judged),
                other=half_figures(reference, answers, thresholds, tolerance, other),
            )
        )
    return tuple(draws)


def measure(folder: Path, reference: Reference) -> PromiseRow:
    """One artifact, which has the run's classes in the run's order or does not load."""
    manifest = Manifest.load(folder)
    manifest.check_run(folder)
    assert manifest.quantization is not None
    tolerance = load_target(manifest.target).tolerance(manifest.precision)
    answers = answers_of(folder, reference.pixels)
    return PromiseRow(
        artifact=manifest.key,
        steps=len(manifest.quantization.steps),
        images=len(reference.targets),
        split=reference.split,
        tolerance=tolerance,
        draws=halved(reference, answers, np.array(manifest.thresholds), tolerance),
    )


def main() -> None:
    """Measure all and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    path = parser.parse_args().run
    run = load_run(path)
    folders = sorted(path.glob("export/*-int8"))
    if not folders:
        parser.error(f"{path} has no int8 artifact; `mlkdc export {path} --target onnx --precision int8` makes one")
    reference = reference_of(run, print)
    study = PromiseStudy(
        command="OMP_NUM_THREADS=1 python benchmarks/promise.py RUN",
        data=run.results.data.name,
        student=run.recipe.student.model,
        seed=run.recipe.seed,
        versions=versions(PACKAGES),
        machine=machine(),
    )
    for folder in folders:
        row = measure(folder, reference)
        study = study.model_copy(update={"rows": (*study.rows, row)})
        study.save_as(RESULTS)
        print(folder.name, flush=True)


if __name__ == "__main__":
    main()
