"""What the loss terms and the methods cost, in one run on one thread; about six minutes on an idle core.

    python benchmarks/losses.py            # measure, then render
    python benchmarks/losses.py --render   # docs/performance.md again from the JSON alone

Writes benchmarks/results/losses.json and docs/performance.md.
"""

import argparse
import json
import os
import shlex
import sys
import time
from datetime import datetime
from math import perm
from pathlib import Path
from typing import Any

from losses_render import DOCUMENT, RESULTS, document

from mlkdc.resources import write_json
from mlkdc.runtime.machine import machine, versions

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # torch's profiler tells of every start and stop
LOOPS = Path(__file__).parents[1] / "tests" / "losses"
PACKAGES = ("mlkdc", "torch", "torchvision", "timm", "accelerate", "numpy")


def target(what: str, sense: str, limit: float, got: float, unit: str = "") -> dict[str, Any]:
    """One promise and what came of it. ``sense``: ``at least`` or ``at most``."""
    met = got >= limit if sense == "at least" else got <= limit
    return {"what": what, "sense": sense, "limit": limit, "got": got, "unit": unit, "met": met}


def targets(found: dict[str, Any]) -> list[dict[str, Any]]:
    """All promises, held against the medians."""
    orders, mskd = found["mdkd"]["orders"], found["steps"]["mskd"]
    shares = {kind: max(row["shares"][kind] for row in found["terms"]) for kind in found["terms"][0]["shares"]}
    return [
        target(
            "LED (CD + ID), times faster than its loop form", "at least", 40, found["led"]["ratio"]["pairs"]["median"]
        ),
        target("MDKD, orders 2 to 4 together", "at most", 20, orders["ms"]["2-4"]["median"], "ms"),
        target(
            "MDKD, largest relative difference from enumeration",
            "at most",
            1e-5,
            max(row["difference"] for row in found["mdkd"]["enumeration"]),
        ),
        target("MDKD, order 6 alone / order 4 alone", "at most", 1.5, orders["ratio"]["6 / 4"]["median"]),
        target("MDKD, orders 2 to 6 / orders 2 to 4", "at most", 1.5, orders["ratio"]["2-6 / 2-4"]["median"]),
        target(
            "MSKD, share of LSD, RSD and SSD in the step (the larger of 10 and 80 labels)",
            "at most",
            5,
            100 * max(share["median"] for share in mskd["arithmetic_share"].values()),
            "%",
        ),
        *[
            target(f"Largest tensor of any term, as a share of {kind}", "at most", 50, 100 * share, "%")
            for kind, share in shares.items()
        ],
    ]


def measure(passes: int, step_passes: int) -> dict[str, Any]:
    """Everything that the document shows."""
    sys.path.append(str(LOOPS))
    import losses_steps
    import losses_terms
    import torch
    from losses_tools import Sizes, draw_targets

    torch.set_num_threads(1)
    began = time.perf_counter(), time.process_time()
    stages = losses_steps.stage_shapes()
    sizes = Sizes(stages=stages, pooled=(stages[0][-1][0], stages[1][-1][0]))
    enumeration = [losses_terms.mdkd_enumeration(32, labels, passes=2) for labels in (8, 10, 12, 14)]
    last, paths = enumeration[-1], sum(perm(80, order) for order in losses_terms.ORDERS)
    scale = paths / last["paths"]
    found: dict[str, Any] = {
        "format": 1,
        "command": shlex.join(["python", "benchmarks/losses.py", *sys.argv[1:]]),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "threads": torch.get_num_threads(),
        "versions": versions(PACKAGES),
        "machine": machine(),
        "sizes": {**vars(sizes), "positives": float(draw_targets(sizes.images, sizes.labels).sum()) / sizes.images},
        "loop_limit_s": losses_terms.LOOP_LIMIT,
        "led": losses_terms.led(sizes, passes=min(passes, 7)),
        "mdkd": {
            "images": 32,
            "orders": losses_terms.mdkd_orders(Sizes(images=32), passes=2 * passes),
            "enumeration": enumeration,
            "extrapolated": {
                "labels": 80,
                "paths": paths,
                "loop_ms": scale * last["ms"]["loop"]["median"],
                "at_once_ms": scale * last["ms"]["at once"]["median"],
                "at_once_peak_bytes": scale * last["at_once_peak_bytes"],
            },
        },
        "terms": losses_terms.every_term(sizes, passes),
        "steps": losses_steps.every_method(step_passes),
    }
    seconds, cpu_seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    return {**found, "targets": targets(found), "seconds": seconds, "cpu_seconds": cpu_seconds}


def main() -> None:
    """Measure unless told otherwise, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--render", action="store_true", help="do not measure")
    parser.add_argument("--passes", type=int, default=10, help="over the terms")
    parser.add_argument("--step-passes", type=int, default=7, help="over the methods' training steps")
    arguments = parser.parse_args()
    if not arguments.render:
        write_json(RESULTS, measure(arguments.passes, arguments.step_passes))
    DOCUMENT.write_text(document(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
