"""docs/latency.md from contention.json, limits.json, device_pairs.json and the code's limits; a test keeps them equal.

python benchmarks/render_latency.py
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from contention_records import ContentionStudy, DevicePairsStudy, Situation
from limit_records import LimitsStudy
from limit_tables import limits, percent
from tables import origin

from mlkdc.agent.frames import SILENCE_SECONDS
from mlkdc.bench import verdict
from mlkdc.bench.ratios import LEAST_PASSES
from mlkdc.bench.schedule import LEAST_RUNS, WARMER, Plan
from mlkdc.bench.table import speedup_text
from mlkdc.devices.bootstrap import archive
from mlkdc.figures import number
from mlkdc.records.bench import Speedup
from mlkdc.resources import write_text
from mlkdc.runtime import conditions, timing
from mlkdc.runtime.targets import load_target, target_names
from mlkdc.tables import Table

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "latency.md"


def protocol() -> str:
    """How it is measured, with the limits that the code has."""
    text = (HERE / "latency_page.md").read_text(encoding="utf-8")
    return text.format(
        agent_kb=round(len(archive()) / 1000),
        silence=round(SILENCE_SECONDS),
        warmup=f"{timing.WARMUP_LEAST_SECONDS:g}",
        warmup_most=f"{timing.WARMUP_MOST_SECONDS:g}",
        settled=percent(timing.SETTLED),
        window_seconds=timing.WINDOW_SECONDS,
        least_window=timing.LEAST_WINDOW,
        runs=LEAST_RUNS,
        seconds=f"{Plan().seconds:g}",
        warmer=WARMER,
        cooling=conditions.COOLING_SECONDS / 60,
        clock=percent(verdict.CLOCK),
        drift=percent(verdict.DRIFT - 1),
        waited=percent(verdict.WAITED),
        cpu=percent(verdict.CPU_FRACTION),
        spread=percent(verdict.SPREAD),
        least_passes=LEAST_PASSES,
        least_turns=verdict.LEAST_TURNS,
    )


def experiment(study: ContentionStudy) -> str:
    """One artifact, quiet and next to busy processes."""
    head = ["threads", "busy processes", "medians of ten turns, ms", "waited", "CPU fraction", "looked steady"]
    head += ["verdict", "itself / itself"]
    rows = []
    for situation in study.situations:
        medians = [timed.turn.median_ms for timed in situation.turns]
        rows.append(
            [
                str(situation.threads),
                str(situation.busy),
                f"{number(min(medians))} to {number(max(medians))}",
                _range([timed.turn.conditions.waited for timed in situation.turns]),
                _range([timed.turn.conditions.cpu_fraction for timed in situation.turns]),
                f"{sum(timed.steady for timed in situation.turns)} of {len(situation.turns)}",
                situation.verdict,
                _to_itself(situation.same),
            ]
        )
    text = (
        f"`python benchmarks/contention.py ARTIFACT`: {study.artifact}, ten turns in each situation. *Looked steady* "
        "is what can be seen from within a process: the halves of its calls agree within 10 %, and nine of ten calls "
        f"took at most 1.25 times the median. {_conclusion(study.situations)}"
    )
    return f"{text}\n\n{Table(head, rows, 'rrrrrrlr').markdown()}"


def _to_itself(same: Speedup) -> str:
    """With a digit more than a speedup has: what counts is whether the interval holds 1."""
    if same.low is None or same.high is None:
        return f"{same.value:.3f}"
    return f"{same.value:.3f} [{same.low:.3f}, {same.high:.3f}]"


def _range(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "not said"
    return f"{number(min(known))} to {number(max(known))}"


def _conclusion(situations: Sequence[Situation]) -> str:
    """What neighbors do, how it looks from within, and how far an artifact is from itself."""
    steady, slowest, turns = 0, 1.0, 0
    for situation in situations:
        if situation.busy == 0:
            continue
        quiet = _quiet(situations, situation.threads)
        for timed in situation.turns:
            turns += 1
            steady += timed.steady
            slowest = max(slowest, timed.turn.median_ms / quiet)
    itself = [situation.same.value for situation in situations if situation.busy == 0]
    missed = 0
    for same in (situation.same for situation in situations):
        missed += same.low is not None and same.high is not None and not same.low <= 1 <= same.high
    return (
        f"Next to busy processes turns took up to {slowest:.1f} times the quiet median, and {steady} of {turns} looked "
        "steady. How long threads waited for a core tells which of them were disturbed. Even on the quiet machine the "
        f"artifact was {number(min(itself))} to {number(max(itself))} times as fast as itself: differences of a few "
        "percent say nothing, and an interval over five passes is a rough one: "
        f"{missed} of {len(situations)} leave out 1, the true ratio."
    )


def _quiet(situations: Sequence[Situation], threads: int) -> float:
    for situation in situations:
        if situation.threads == threads and situation.busy == 0:
            return median([timed.turn.median_ms for timed in situation.turns])
    raise ValueError(f"no quiet situation with {threads} threads")


def pairs(study: DevicePairsStudy) -> str:
    """This machine, reached in other ways."""
    head = ["device", "runs it", "local, ms", "there, ms", "times as fast as local"]
    rows = []
    for found in study.pairs:
        rows.append(
            [
                found.device,
                found.provider,
                number(found.local_ms),
                number(found.device_ms),
                speedup_text(found.speedup),
            ]
        )
    return (
        "## What the way to a device costs\n\n"
        "`python benchmarks/device_pairs.py ARTIFACT DEVICE...`: the same machine, reached over ssh on its loopback "
        f"interface and through a browser; {study.artifact}, one thread, five pairs of turns. Over ssh the interval "
        "has to hold 1. A browser is another runtime.\n\n"
        f"{Table(head, rows, 'llrrr').markdown()}"
    )


def setup() -> str:
    """How to prepare a device."""
    wheels = []
    for name in target_names():
        target = load_target(name)
        if target.glibc is not None:
            wheels.append(f"{target.runtime_packages[0]} glibc {target.glibc}")
    return (HERE / "latency_setup.md").read_text(encoding="utf-8").replace("{wheels}", ", ".join(wheels))


def document() -> str:
    """The page."""
    study = ContentionStudy.load(HERE / "results")
    ways = pairs(DevicePairsStudy.load(HERE / "results"))
    others = LimitsStudy.load(HERE / "results")
    where = origin(study.machine, study.versions)
    return "\n".join([protocol(), experiment(study), "", limits(others), "", where, "", ways, "", setup()])


def main() -> None:
    """Write it."""
    write_text(DOCUMENT, document())


if __name__ == "__main__":
    main()
