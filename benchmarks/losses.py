"""What the loss terms and the methods cost, in one run on one thread; about six minutes on an idle core.

    python benchmarks/losses.py            # measure, then render
    python benchmarks/losses.py --render   # docs/performance.md again from the JSON alone

Writes benchmarks/results/losses.json and docs/performance.md.
"""

import argparse
import os
import shlex
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Literal

from losses_records import LedCost, LossesStudy, MdkdCost, Promise, StepsCost, TermCost
from losses_render import DOCUMENT, document

from mlkdc.resources import write_text
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # torch's profiler reports every start and stop
RESULTS = Path(__file__).parent / "results"
LOOPS = Path(__file__).parents[1] / "tests" / "losses"
PACKAGES = ("mlkdc", "torch", "torchvision", "timm", "accelerate", "numpy")
#: Numbers of labels with so few paths that they can be enumerated.
ENUMERATED_LABELS = (8, 10, 12, 14)


def promise(what: str, sense: Literal["at least", "at most"], limit: float, measured: float, unit: str = "") -> Promise:
    """One promise and what came of it."""
    met = measured <= limit
    if sense == "at least":
        met = measured >= limit
    return Promise(what=what, sense=sense, limit=limit, measured=measured, unit=unit, met=met)


def targets(led: LedCost, mdkd: MdkdCost, terms: tuple[TermCost, ...], steps: StepsCost) -> tuple[Promise, ...]:
    """All promises, compared with the medians."""
    difference = max(row.difference for row in mdkd.enumeration)
    arithmetic = max(steps.mskd.arithmetic_fraction.median, steps.mskd.arithmetic_80_labels_fraction.median)
    promises = [
        promise(
            "LED (CD + ID), how many times faster than the loop over pairs", "at least", 40, led.by_pair_ratio.median
        ),
        promise("MDKD, orders 2 to 4 together", "at most", 20, mdkd.of_orders("2-4").ms.median, "ms"),
        promise("MDKD, largest relative difference from enumeration", "at most", 1e-5, difference),
        promise("MDKD, order 6 alone / order 4 alone", "at most", 1.5, mdkd.order_6_over_4.median),
        promise("MDKD, orders 2 to 6 / orders 2 to 4", "at most", 1.5, mdkd.orders_2_6_over_2_4.median),
        promise(
            "MSKD, fraction of the step for LSD, RSD and SSD (the larger of 10 and 80 labels)",
            "at most",
            5,
            100 * arithmetic,
            "%",
        ),
    ]
    for kind in terms[0].largest_fractions:
        largest = max(term.largest_fractions[kind] for term in terms)
        promises.append(
            promise(f"Largest tensor of any term, as a fraction of {kind}", "at most", 50, 100 * largest, "%")
        )
    return tuple(promises)


def measure(passes: int, step_passes: int) -> LossesStudy:
    """Everything that the document shows."""
    # Not at the top: the document is rendered without torch, and the loops are found once the tests are on the path.
    sys.path.append(str(LOOPS))
    import losses_loops
    import losses_mdkd
    import losses_steps
    import losses_terms
    import torch
    from losses_records import Sizes
    from losses_tools import draw_targets

    # On one thread the processor's time is that of the work, and figures do not depend on the number of cores.
    torch.set_num_threads(1)
    started, cpu_started = time.perf_counter(), time.process_time()
    stages = losses_steps.stage_shapes()
    sizes = Sizes(stages=stages, pooled=(stages[0][-1][0], stages[1][-1][0]))
    when = datetime.now().astimezone().isoformat(timespec="seconds")
    led = losses_terms.led(sizes, passes=min(passes, 7))
    mdkd = losses_mdkd.mdkd(sizes.labels, ENUMERATED_LABELS, passes=2 * passes)
    terms = losses_terms.every_term(sizes, passes)
    steps = losses_steps.every_method(step_passes)
    return LossesStudy(
        command=shlex.join(["python", "benchmarks/losses.py", *sys.argv[1:]]),
        started=when,
        threads=torch.get_num_threads(),
        versions=versions(PACKAGES),
        machine=machine(),
        sizes=sizes,
        positives_per_image=float(draw_targets(sizes.images, sizes.labels).sum()) / sizes.images,
        loop_limit_seconds=losses_loops.LOOP_LIMIT,
        led=led,
        mdkd=mdkd,
        terms=terms,
        steps=steps,
        targets=targets(led, mdkd, terms, steps),
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu_started,
    )


def main() -> None:
    """Measure, unless only the document is asked for, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--render", action="store_true", help="do not measure")
    parser.add_argument("--passes", type=int, default=10, help="over the terms")
    parser.add_argument("--step-passes", type=int, default=7, help="over the methods' training steps")
    options = parser.parse_args()
    if not options.render:
        measure(options.passes, options.step_passes).save(RESULTS)
    write_text(DOCUMENT, document(LossesStudy.load(RESULTS)))


if __name__ == "__main__":
    main()
