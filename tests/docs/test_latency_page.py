"""docs/latency.md is what the study and the code's limits say."""

from importlib import import_module
from pathlib import Path

import pytest
from limit_tables import LIMITS

from mlkdc.bench.verdict import DRIFT, SPREAD, WAITED
from mlkdc.records.bench import Verdict

ROOT = Path(__file__).parents[2]


def page() -> str:
    return (ROOT / "docs" / "latency.md").read_text(encoding="utf-8")


def test_the_page_is_rendered_from_the_study() -> None:
    assert import_module("render_latency").document() == page()


def test_every_verdict_is_explained() -> None:
    for name in Verdict.__args__:
        assert f"| `{name}` |" in page()


def test_the_way_over_ssh_costs_nothing() -> None:
    study = import_module("contention_records").DevicePairsStudy.load(ROOT / "benchmarks" / "results")
    (over_ssh,) = [pair for pair in study.pairs if pair.device.startswith("ssh://")]
    assert over_ssh.speedup.low <= 1 <= over_ssh.speedup.high


def test_the_study_shows_what_the_limits_rest_on() -> None:
    study = import_module("contention_records").ContentionStudy.load(ROOT / "benchmarks" / "results")
    cores = study.machine.cores
    for situation in study.situations:
        waits = [timed.turn.conditions.waited for timed in situation.turns]
        if situation.busy == 0:
            # Two threads are the two halves of one core, and come out in two ways, which shows as spread.
            assert situation.verdict == ("stable" if situation.threads == 1 else "spread")
            assert sorted(waits)[len(waits) // 2] < WAITED
        elif situation.busy >= cores:
            assert situation.verdict == "disturbed"
            assert min(waits) > WAITED
        assert situation.same.low <= 1.02
        assert situation.same.high >= 0.98
    assert "itself: differences of a few percent say nothing" in page()


def test_the_study_shows_what_the_limits_of_drift_and_spread_rest_on() -> None:
    study = import_module("limit_records").LimitsStudy.load(ROOT / "benchmarks" / "results")
    for held_us, throttled in ((0, 0), (200, 1)):
        drifts = [turn.drift for turn in study.held(held_us, from_start=False)]
        assert sum(drift > DRIFT for drift in drifts) == throttled * len(drifts)
    shares = [line.split("|")[2:4] for line in page().split("**Spread.**")[1].split("**Warm-up.**")[0].splitlines()]
    quiet, mixed = zip(*[[float(cell.strip(" %")) for cell in row] for row in shares[4:8]], strict=True)
    assert LIMITS == (0.02, 0.05, SPREAD, 0.2)
    # What the page concludes: 5 % is too little here, and 20 % too much.
    assert quiet[1] > 90
    assert mixed[3] < 50 < mixed[2]
    assert all(held_up >= alone for alone, held_up in zip(quiet, mixed, strict=True))


def test_a_warm_up_ends_where_two_windows_agree() -> None:
    settled = import_module("limit_tables")._settled
    windows_us = (20_000, 15_000, 14_500, 10_000, 10_100)
    assert settled(windows_us, 0.05, 0.0) == 3
    assert settled(windows_us, 0.02, 0.0) == 5
    assert settled(windows_us, 0.05, 0.6) == 5
    with pytest.raises(ValueError, match="no two windows agree"):
        settled(windows_us, 0.001, 0.0)
