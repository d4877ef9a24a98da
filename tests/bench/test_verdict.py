"""Each verdict from the turns that deserve it, and the limits on both sides."""

import subprocess
import sys

import pytest
from fake_device import QUIET, turn

from mlkdc.bench.verdict import judge
from mlkdc.devices import Load, LocalDevice, Subject
from mlkdc.records.bench import Conditions
from mlkdc.records.manifest import Manifest


def verdict(turns, threads: int = 1) -> str:
    return judge(turns, threads)[0]


def conditions(**values) -> Conditions:
    return QUIET.model_copy(update=values)


def test_quiet_turns_are_stable_and_say_nothing():
    assert judge([turn(1.0), turn(1.05), turn(1.0)], 1) == ("stable", "")


@pytest.mark.parametrize(("waited", "expected"), [(0.029, "stable"), (0.031, "disturbed")])
def test_threads_that_wait_for_a_core(waited, expected):
    assert verdict([turn(conditions=conditions(waited=waited))] * 3) == expected


def test_one_disturbed_turn_of_five_does_not_move_the_median():
    disturbed = turn(1.04, conditions=conditions(waited=0.5))
    assert verdict([turn(), turn(), turn(), turn(), disturbed]) == "stable"
    slow = turn(2.0, conditions=conditions(waited=0.5))
    assert verdict([turn(), turn(), turn(), turn(), slow]) == "spread"
    assert verdict([turn(), disturbed, disturbed]) == "disturbed"


@pytest.mark.parametrize(
    ("quiet", "shared", "said"),
    [
        (QUIET, conditions(waited=0.05), "in 2 of 4 turns its threads waited 5% of the time for a core"),
        (
            Conditions(cpu_fraction=1.0),
            Conditions(cpu_fraction=0.85),
            "in 2 of 4 turns it had a core for 85% of the time only",
        ),
    ],
)
def test_half_of_the_turns_are_enough(quiet, shared, said):
    turns = [turn(conditions=quiet)] * 3 + [turn(conditions=shared)] * 2
    found, why = judge(turns[1:], 1)
    assert found == "disturbed"
    assert why.startswith(said)
    assert verdict(turns[:-1]) == "stable"


@pytest.mark.parametrize(("fraction", "expected"), [(0.96, "stable"), (0.76, "disturbed")])
def test_where_waiting_is_not_recorded_cpu_time_tells_at_one_thread(fraction, expected):
    turns = [turn(conditions=Conditions(cpu_fraction=fraction))] * 3
    assert verdict(turns) == expected
    assert verdict(turns, threads=2) == "unknown"
    assert "does not say" in judge([turn(conditions=Conditions())] * 3, 1)[1]


def test_a_warm_up_that_never_ended():
    assert judge([turn(), turn(settled=False)], 1)[0] == "unsettled"
    why = judge([turn(), turn(settled=False)], 1)[1]
    assert "1 of 2 turns" in why
    assert "--sustained" in why
    assert "--seconds" not in why, "the warm-up does not depend on them"


@pytest.mark.parametrize(("other", "expected"), [(1.099, "stable"), (1.101, "spread")])
def test_turns_that_disagree(other, expected):
    assert verdict([turn(1.0), turn(1.0), turn(other)]) == expected


@pytest.mark.parametrize(("count", "said"), [(1, "only 1 process, at least 3"), (2, "only 2 processes, at least 3")])
def test_few_processes_do_not_show_the_spread(count, said):
    found, why = judge([turn()] * count, 1)
    assert found == "unknown"
    assert why == f"{said} are needed to know the spread; measure again with more --passes"
    assert verdict([turn(1.0), turn(1.2)]) == "spread", "what two show is known"
    assert verdict([turn(1.0), turn(1.05)]) == "unknown", "two that nearly agree are still two"
    assert verdict([turn(conditions=conditions(waited=0.5))]) == "disturbed"


def test_throttling_by_firmware_clock_or_drift():
    weak = turn(conditions=conditions(throttled="under-voltage"))
    assert judge([weak], 1)[1].startswith("the firmware reports under-voltage")
    rising = turn(conditions=conditions(mhz=(600.0, 2400.0)))
    assert verdict([rising] * 3) == "stable", "before a turn the clock may idle"
    assert verdict([turn(drift=1.06)] * 2) == "throttled"
    assert verdict([turn(drift=1.06), turn(drift=1.0), turn(drift=1.0)]) == "stable"
    assert verdict([turn(conditions=conditions(throttled=""))] * 3) == "stable"


@pytest.mark.parametrize(
    ("clocks", "said"),
    [
        ((2400.0, 2000.0), "fell from 2400 to 2000 MHz"),
        ((2000.0, 2400.0, 2000.0), "fell from 2400 to 2000 MHz"),
        ((2000.0, 2200.0, 2400.0), "rose from 2000 to 2400 MHz"),
    ],
)
def test_a_clock_that_moved_between_turns(clocks, said):
    why = judge([turn(conditions=conditions(mhz=(600.0, mhz))) for mhz in clocks], 1)[1]
    assert why == f"its clock {said}; cool it, and fix its clock if you can"


@pytest.mark.parametrize(
    ("clocks", "expected"),
    [
        ((2400.0, 2300.0, 2400.0), "stable"),
        ((2400.0, 2260.0, 2400.0), "throttled"),
        ((2260.0, 2400.0, 2400.0), "throttled"),
    ],
)
def test_the_lowest_clock_counts_next_to_the_highest_in_any_order(clocks, expected):
    assert verdict([turn(conditions=conditions(mhz=(600.0, mhz))) for mhz in clocks]) == expected


@pytest.mark.parametrize(
    ("drift", "slow_turns", "expected"),
    [(1.049, 4, "stable"), (1.051, 4, "throttled"), (1.06, 2, "throttled"), (1.06, 1, "stable")],
)
def test_growing_slower_counts_in_half_of_the_turns(drift, slow_turns, expected):
    assert verdict([turn(drift=drift)] * slow_turns + [turn()] * (4 - slow_turns)) == expected


def test_what_the_firmware_says_of_any_turn_counts():
    weak = turn(conditions=conditions(throttled="under-voltage"))
    assert verdict([weak, turn(), turn()]) == verdict([turn(), turn(), weak]) == "throttled"


@pytest.mark.parametrize(
    ("busy", "quiet", "silent"),
    [
        (conditions(waited=0.5), QUIET, Conditions(cpu_fraction=1.0)),
        (Conditions(cpu_fraction=0.5), Conditions(cpu_fraction=1.0), Conditions()),
    ],
)
def test_turns_that_do_not_tell_are_not_counted_with_those_that_do(busy, quiet, silent):
    """One of two was disturbed, and two say nothing."""
    assert verdict([turn(conditions=each) for each in (busy, quiet, silent, silent)]) == "disturbed"


def test_contention_explains_drift():
    assert verdict([turn(drift=1.5, conditions=conditions(waited=0.3))] * 2) == "disturbed"


@pytest.mark.slow
def test_a_busy_process_on_each_core_disturbs_a_real_measurement(make_artifact):
    import os

    folder = make_artifact()
    subject = Subject(folder, Manifest.load(folder))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        with LocalDevice() as device:
            device.open()
            turns = [device.turn(subject, Load(threads=1, least_seconds=1.0)) for _ in range(2)]
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert verdict(turns) == "disturbed"


def test_growing_slower_on_a_device_that_sees_no_contention_may_have_two_reasons():
    blind = Conditions()
    _, why = judge([turn(drift=1.2, conditions=blind)], 2)
    assert "it throttles, or other work came" in why
    _, why = judge([turn(drift=1.2)], 2)
    assert "other work" not in why
