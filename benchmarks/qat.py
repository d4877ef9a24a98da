"""What fine-tuning for int8 saves, all layers in int8: before it, and after one and two epochs; biases corrected too.

    OMP_NUM_THREADS=1 python benchmarks/qat.py RUN [--targets onnx ...]

RUN is a finished run, whose data and teacher are where they were. Every artifact is compared with the torch model that
was scored, not with the fine-tuned one. Minutes a target; the figures go to benchmarks/results/qat.json.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from building import builder_of
from int8 import int8_row
from promise import PACKAGES, TARGETS
from study import grow
from study_records import Int8Row, QatStudy

from mlkdc.exporting import ExportOptions
from mlkdc.exporting.int8.guard import Ladder
from mlkdc.exporting.int8.quantizer import Quantizer
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.known import reference_of
from mlkdc.exporting.reference import Reference
from mlkdc.figures import counted
from mlkdc.records.run import Run, load_run
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions

RESULTS = Path(__file__).parent / "results" / QatStudy.FILE
EPOCHS = (1, 2)


def ways(ladder: Ladder, epochs: int) -> Iterator[tuple[str, str, Quantization]]:
    """(weights, ranges, how); the first two only next to the fewest epochs, as they are the same for all."""
    plain = "smallest to largest"
    if epochs == EPOCHS[0]:
        yield "as scored", plain, ladder.first
        yield "as scored", f"{plain}, biases corrected", replace(ladder.first, correct_biases=True)
    assert ladder.fine_tune is not None
    ladder.fine_tune()
    tuned = replace(ladder.first, fine_tuned=True)
    yield f"{counted(epochs, 'epoch')} more", plain, tuned
    yield f"{counted(epochs, 'epoch')} more", f"{plain}, biases corrected", replace(tuned, correct_biases=True)


def measure(run: Run, target: str, reference: Reference) -> Iterator[Int8Row]:
    """One row for each way."""
    for epochs in EPOCHS:
        options = ExportOptions(target=target, precision="int8", qat_epochs=epochs)
        with builder_of(run, options, reference) as builder:
            quantizer = Quantizer(builder)
            for weights, ranges, how in ways(quantizer.ladder(), epochs):
                _, manifest = builder.build(how)
                yield int8_row(target, weights, ranges, len(quantizer.images), manifest.parity)


def main() -> None:
    """Measure all and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--targets", nargs="*", default=TARGETS)
    options = parser.parse_args()
    run = load_run(options.run)
    reference = reference_of(run, print)
    study = QatStudy(
        command=f"OMP_NUM_THREADS=1 python benchmarks/qat.py RUN --targets {' '.join(options.targets)}",
        data=run.results.data.name,
        student=run.recipe.student.model,
        seed=run.recipe.seed,
        versions=versions((*PACKAGES, "torchao")),
        machine=machine(),
    )
    grow(RESULTS, study, (row for target in options.targets for row in measure(run, target, reference)))


if __name__ == "__main__":
    main()
