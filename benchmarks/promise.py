"""How often do limits that held on some images break on others? Twenty random halves of the images of the check.

    OMP_NUM_THREADS=1 python benchmarks/promise.py RUN [--answers FOLDER]

RUN is a finished run, whose data is where it was. For each target every step of the int8 ladder is made and answers all
images of the check once; the answers are kept in FOLDER, and taken from there the next time. Then each half chooses a
step and judges it, by the rule of an export and by a simpler one, and the other half, which had no part in that, judges
it too. The figures go to benchmarks/results/promise.json.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from building import builder_of
from promise_records import Choice, Draw, HalfFigures, PromiseRow, PromiseStudy
from study import grow

from mlkdc.errors import MlkdcError
from mlkdc.exporting import ExportOptions
from mlkdc.exporting.int8 import guard
from mlkdc.exporting.int8.choice import choose, loss
from mlkdc.exporting.int8.promise import Answered, promise, subset
from mlkdc.exporting.int8.quantizer import Quantizer, thresholds_of
from mlkdc.exporting.known import reference_of
from mlkdc.exporting.parity import compare
from mlkdc.exporting.reference import Reference
from mlkdc.exporting.stranger import Judgement
from mlkdc.records.parity import Parity, Tolerance
from mlkdc.records.run import Run, load_run
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions

RESULTS = Path(__file__).parent / "results" / "promise.json"
DRAWS = 20
PACKAGES = ("mlkdc", "torch", "onnxruntime", "openvino", "ai-edge-litert", "executorch")
TARGETS = ("onnx", "openvino", "litert", "executorch")


@dataclass(frozen=True)
class Ladder:
    """What is judged: the steps' answers, the torch model's, and the limits."""

    reference: Reference
    answered: Sequence[Answered]
    thresholds: np.ndarray
    tolerance: Tolerance

    def parity(self, step: Answered, rows: np.ndarray, *, interval: bool = True) -> Parity:
        """Of some of the images, as an export judges them."""
        part = subset(self.reference, rows)
        return compare(part, step.answers[rows], self.thresholds, self.tolerance, "", interval=interval)


def half_figures(parity: Parity) -> HalfFigures:
    """What the study keeps of a comparison."""
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


def first_holding(compared: Sequence[Parity]) -> int:
    """The position of the first that holds its limits, else of the one that loses least."""
    for position, parity in enumerate(compared):
        if parity.passed:
            return position
    losses = [loss(parity) for parity in compared]
    return losses.index(min(losses))


def halved(ladder: Ladder) -> tuple[Draw, ...]:
    """The same halves for every ladder of a run."""
    random = np.random.default_rng(0)
    count = len(ladder.reference.targets)
    draws = []
    for _ in range(DRAWS):
        order = random.permutation(count)
        draws.append(draw(ladder, np.sort(order[: count // 2]), np.sort(order[count // 2 :])))
    return tuple(draws)


def draw(ladder: Ladder, rows: np.ndarray, others: np.ndarray) -> Draw:
    """Choose by the images in ``rows``, and judge by them and by the others."""
    compared = [ladder.parity(step, rows, interval=False) for step in ladder.answered]
    promised = promise(subset(ladder.reference, rows), _of(ladder, rows), ladder.thresholds, ladder.tolerance)
    assert promised is not None
    first, margin = first_holding(compared), choose(compared)
    return Draw(
        first=_choice(ladder, ladder.answered[first], rows, others),
        margin=_choice(ladder, ladder.answered[margin], rows, others, promised.firm),
    )


def _of(ladder: Ladder, rows: np.ndarray) -> list[Answered]:
    return [Answered(step.name, step.answers[rows]) for step in ladder.answered]


def _choice(ladder: Ladder, step: Answered, rows: np.ndarray, others: np.ndarray, firm: bool | None = None) -> Choice:
    judged, other = half_figures(ladder.parity(step, rows)), half_figures(ladder.parity(step, others))
    return Choice(step=step.name, judged=judged, other=other, firm=firm)


def measure(run: Run, target: str, reference: Reference, kept: Path) -> PromiseRow:
    """Make all steps of a target's ladder, and judge them; ``kept``: the folder of answers."""
    with builder_of(run, ExportOptions(target=target, precision="int8"), reference) as builder:
        file = kept / f"{target}.npz"
        if not file.is_file():
            answers = {step.name: step.answers for step in _answers(Quantizer(builder))}
            np.savez(file, allow_pickle=False, **answers)
        with np.load(file) as answers:
            answered = tuple(Answered(name, answers[name]) for name in answers.files)
        ladder = Ladder(reference, answered, thresholds_of(builder), builder.request.tolerance)
    return PromiseRow(
        artifact=f"{target}-int8",
        steps=tuple(step.name for step in answered),
        images=len(reference.targets),
        split=reference.split,
        tolerance=ladder.tolerance,
        draws=halved(ladder),
    )


def every_step(ladder: guard.Ladder) -> Iterator[tuple[guard.Candidate, Judgement]]:
    """Make one step after another, whatever the simulation says of them; one that cannot be made is said."""
    plain = guard.Candidate("per channel, smallest to largest", ladder.first, ladder.simulate(ladder.first))
    for candidate in chain([plain], guard.candidates(ladder, plain.change)):
        try:
            judgement = ladder.build(candidate.how)
        except MlkdcError as error:
            print(f"{candidate.name}: {error}")
            continue
        yield candidate, judgement


def _answers(quantizer: Quantizer) -> Iterator[Answered]:
    """Of every step."""
    for candidate, judgement in every_step(quantizer.ladder()):
        print(candidate.name, judgement.parity.figures, flush=True)
        if judgement.answers is not None and judgement.parity.figures is not None:
            yield Answered(candidate.name, judgement.answers)


def main() -> None:
    """Measure all and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--targets", nargs="*", default=TARGETS)
    parser.add_argument("--answers", type=Path, default=Path("runs/promise"))
    options = parser.parse_args()
    options.answers.mkdir(parents=True, exist_ok=True)
    run = load_run(options.run)
    reference = reference_of(run, print)
    study = PromiseStudy(
        command=f"OMP_NUM_THREADS=1 python benchmarks/promise.py RUN --targets {' '.join(options.targets)}",
        data=run.results.data.name,
        student=run.recipe.student.model,
        seed=run.recipe.seed,
        versions=versions(PACKAGES),
        machine=machine(),
    )
    rows = (measure(run, target, reference, options.answers) for target in options.targets)
    grow(RESULTS, study, rows, shown=lambda row: row.artifact)


if __name__ == "__main__":
    main()
