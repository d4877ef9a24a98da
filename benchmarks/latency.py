"""A study's student next to its teacher: both exported, both timed in one run, rows interleaved.

    python benchmarks/latency.py STUDENT_RUN TEACHER_RUN

Writes benchmarks/results/latency.json.
"""

import argparse
import os
from pathlib import Path

from study import call
from study_records import LatencyStudy, TimedModel, without_samples

from mlkdc.records.bench import BenchFile
from mlkdc.records.manifest import Manifest
from mlkdc.records.run import EXPORT_FOLDER, load_run

RESULTS = Path(os.path.relpath(Path(__file__).parent)) / "results" / "latency.json"
ARTIFACT = "onnx-fp32"


def timed_model(folder: Path) -> TimedModel:
    """A finished run that is exported to ONNX."""
    manifest = Manifest.load(folder / EXPORT_FOLDER / ARTIFACT)
    return TimedModel.of(folder.name, load_run(folder).results, manifest)


def measure(student: Path, teacher: Path, bench_file: Path) -> LatencyStudy:
    """Export what is not exported yet, time all, add each model's accuracy; the raw figures go to ``bench_file``."""
    for folder in (student, teacher):
        if not (folder / EXPORT_FOLDER / ARTIFACT).is_dir():
            call(["mlkdc", "export", str(folder), "--target", "onnx"])
    call(["mlkdc", "bench", str(student), str(teacher), "--out", str(bench_file)])
    figures = without_samples(BenchFile.load_from(bench_file))
    # Its rows go into the study, next to the accuracy of the models.
    bench_file.unlink()
    return LatencyStudy(bench=figures, student=timed_model(student), teacher=timed_model(teacher))


def main() -> None:
    """Measure and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("teacher", type=Path)
    options = parser.parse_args()
    measure(options.student, options.teacher, RESULTS.with_suffix(".raw.json")).save_as(RESULTS)


if __name__ == "__main__":
    main()
