"""What the simulation saves of an int8 ladder: the same ladder with every step made, and as an export climbs it.

    OMP_NUM_THREADS=1 python benchmarks/ladder.py RUN --data PHOTOS --weights WEIGHTS [--targets onnx ...]

RUN is a finished run, whose data is where it was. Each ladder is climbed with the target's limits, and with limits that
no step holds, to its end. The torch model's answers are made before, once. Minutes a target; the seconds go to
benchmarks/results/ladder.json.
"""

import argparse
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

from building import builder_of
from ladder_records import Climb, LadderRow, LadderStudy
from promise import PACKAGES, TARGETS, every_step
from study import PLACES, add_places, grow, placed

from mlkdc.exporting import ExportOptions
from mlkdc.exporting.int8.choice import with_margin
from mlkdc.exporting.int8.guard import Ladder, climb
from mlkdc.exporting.int8.quantizer import Quantizer
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.known import reference_of
from mlkdc.exporting.reference import Reference
from mlkdc.exporting.stranger import Judgement
from mlkdc.records.run import Run, load_run
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions

RESULTS = Path(__file__).parent / "results" / LadderStudy.FILE
LIMITS = {"own": (None, None), "none holds": (1e-4, 1e-3)}


class Counted:
    """A ladder whose artifacts are counted.

    Args:
        ladder: whose steps are made.
    """

    def __init__(self, ladder: Ladder) -> None:
        self.made: list[Judgement] = []
        self._build = ladder.build
        self.ladder = replace(ladder, build=self._counted)

    def _counted(self, how: Quantization) -> Judgement:
        judgement = self._build(how)
        self.made.append(judgement)
        return judgement

    def climbed(self, seconds: float) -> Climb:
        """What came of it."""
        return Climb(artifacts=len(self.made), seconds=seconds, held=with_margin(self.made[-1].parity))


def every(counted: Counted) -> None:
    """Make each step until one holds; the simulation only orders them."""
    for _, judgement in every_step(counted.ladder):
        if with_margin(judgement.parity):
            return


def timed(run: Run, options: ExportOptions, reference: Reference, simulated: bool) -> Climb:
    """Climb one ladder, calibration images read and model merged before."""
    with builder_of(run, options, reference) as builder:
        counted = Counted(Quantizer(builder).ladder())
        start = time.perf_counter()
        if simulated:
            climb(counted.ladder)
        else:
            every(counted)
        return counted.climbed(time.perf_counter() - start)


def measure(run: Run, target: str, limits: str, reference: Reference) -> LadderRow:
    """One ladder, both ways."""
    most_map, most_class = LIMITS[limits]
    options = ExportOptions(
        target=target, precision="int8", max_map_drop_points=most_map, max_class_drop_points=most_class
    )
    return LadderRow(
        artifact=f"{target}-int8",
        limits=limits,
        every=timed(run, options, reference, simulated=False),
        simulated=timed(run, options, reference, simulated=True),
    )


def main() -> None:
    """Measure all and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--targets", nargs="*", default=TARGETS)
    add_places(parser)
    options = parser.parse_args()
    run = load_run(options.run)
    reference = reference_of(run, print)
    study = LadderStudy(
        training=placed(run.results.command, options),
        command=f"OMP_NUM_THREADS=1 python benchmarks/ladder.py RUN {PLACES} --targets {' '.join(options.targets)}",
        data=run.results.data.name,
        student=run.recipe.student.model,
        versions=versions(PACKAGES),
        machine=machine(),
    )
    grow(RESULTS, study, (measure(run, *ladder, reference) for ladder in product(options.targets, LIMITS)))


if __name__ == "__main__":
    main()
