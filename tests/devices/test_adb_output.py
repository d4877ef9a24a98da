"""What the programs and Android print, in the forms of several versions; no adb."""

import re

import pytest

from mlkdc.devices.adb import benchmark_model, executor_runner
from mlkdc.devices.adb.client import Adb, Output
from mlkdc.devices.adb.program import Printed
from mlkdc.devices.adb.state import read_facts, read_now
from mlkdc.devices.adb.watch import Looks, read_looks
from mlkdc.devices.base import Load
from mlkdc.errors import MlkdcError

CURRENT = "Current temperatures from HAL:\n"
RUNNING = (
    "INFO: Running benchmark for at least {} iterations and at least {} seconds but terminate if exceeding 150 seconds."
)
LITERT = f"""\
INFO: STARTING!
INFO: Graph: [model]
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 8.9
INFO: Initialized session in 21.5ms.
{RUNNING.format(1, 1)}
INFO: count=120 first=19500 curr=8100 min=7900 max=19500 avg=8333.25 std=1102 p5=7950 median=8200 p95=9000

{RUNNING.format(200, 3)}
INFO: count=370 first=8050 curr=8010 min=7800 max=1.2e+04 avg=8100.5 std=220 p5=7900 median=8000 p95=8600

INFO: Inference timings in us: Init: 21500, First inference: 19500, Warmup (avg): 8333.25, Inference (avg): 8100.5
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE
INFO: Memory footprint delta from the start of the tool (MB): init=12.5 overall=19.75
"""


def test_benchmark_model() -> None:
    turn = benchmark_model.turn(LITERT)
    assert (turn.median_ms, turn.p90_ms, turn.min_ms) == (8.0, 8.6, 7.8)
    assert (turn.load_ms, turn.first_ms, turn.runs, turn.warmup_runs) == (21.5, 19.5, 370, 120)
    assert turn.settled
    assert turn.samples_us == ()
    assert turn.drift is None


def test_benchmark_model_that_had_not_settled() -> None:
    assert not benchmark_model.turn(LITERT.replace("median=8200", "median=8500")).settled


def test_benchmark_model_whose_calls_all_took_the_same_time() -> None:
    same = "count=370 curr=8000(all same) p5=8000 median=8000 p95=8000"
    head, _, tail = LITERT.partition("count=370")
    turn = benchmark_model.turn(head + same + "\n" + tail.partition("\n")[2])
    assert (turn.min_ms, turn.median_ms, turn.p90_ms) == (8.0, 8.0, 8.0)


def test_benchmark_model_without_a_median() -> None:
    old = LITERT.replace(" p5=7900 median=8000 p95=8600", "").replace(" p5=7950 median=8200 p95=9000", "")
    with pytest.raises(MlkdcError, match="prints a mean and no median; take a newer one"):
        benchmark_model.turn(old)


@pytest.mark.parametrize("printed", ["", "INFO: STARTING!\n", LITERT.partition("INFO: Inference")[0]])
def test_benchmark_model_without_timings(printed: str) -> None:
    with pytest.raises(MlkdcError, match="printed no timings"):
        benchmark_model.turn(printed)


@pytest.mark.parametrize(
    ("said", "instead"),
    [("median=8000", "median=0"), (" p95=8600", ""), ("median=8000", "median=1.2.3"), ("count=370", "count=3.7")],
)
def test_benchmark_model_with_other_figures(said: str, instead: str) -> None:
    with pytest.raises(MlkdcError, match=r"expected times above 0 us .*, got 'INFO: count=120 .*; take a newer one"):
        benchmark_model.turn(LITERT.replace(said, instead))


def test_the_command_of_benchmark_model() -> None:
    commands = []

    def run(command: str) -> object:
        commands.append(command)
        return benchmark_model.turn  # not reached

    program = benchmark_model.BenchmarkModel("/data/local/tmp/bm")
    with pytest.raises(AttributeError):
        program.time(run, (1, 224, 224, 3), Load(threads=4, least_runs=200, least_seconds=900))  # type: ignore[arg-type]
    assert commands == [
        "/data/local/tmp/bm --graph=model --input_layer=image --input_layer_shape=1,224,224,3 "
        "--input_layer_value_files=image:input.bin --num_threads=4 --warmup_min_secs=1 --num_runs=200 "
        "--min_secs=900 --max_secs=900"
    ]


def log(times: list[float]) -> str:
    lines = [
        f"I 00:00:00.001 executorch:executor_runner.cpp:9] Iteration {number} of {len(times)}: {taken:f} ms"
        for number, taken in enumerate(times, 1)
    ]
    return "\n".join(["Model loaded in 12.500000 ms.", *lines, "Model executed successfully"])


def test_executor_runner() -> None:
    times = [9.0] + [5.0] * 9 + [5.0 + step / 100 for step in range(30)]
    turn = executor_runner.turn(log(times), warmup=10, least_runs=30)
    assert turn.first_ms == 9
    assert turn.load_ms == 12.5
    assert (turn.runs, turn.warmup_runs) == (30, 10)
    assert turn.median_ms == pytest.approx(5.145)
    assert turn.p90_ms == pytest.approx(5.261)
    assert turn.min_ms == 5
    assert turn.drift == pytest.approx(5.245 / 5.045)
    assert turn.settled
    assert turn.samples_us == tuple(5000 + 10 * step for step in range(30))


def test_executor_runner_whose_first_timed_calls_the_log_lost() -> None:
    """It was throttled long before what is left: that says nothing of how the time grew."""
    lines = log([5.0] * 100 + [10.0] * 400).splitlines()
    turn = executor_runner.turn("\n".join(lines[-300:]), warmup=10, least_runs=200)
    assert (turn.drift, turn.median_ms) == (None, 10)
    without_warmup = executor_runner.turn("\n".join(lines[11:]), warmup=10, least_runs=200)
    assert without_warmup.drift == 2


def test_executor_runner_has_no_minutes_though_it_ran_for_some() -> None:
    assert executor_runner.turn(log([1000.0] * 300), warmup=10, least_runs=200).minute_ms == ()


def test_executor_runner_has_settled_where_the_end_of_its_warm_up_was_as_fast() -> None:
    timed = [5.0] * 30
    assert executor_runner.turn(log([9.0] * 20 + [5.0] * 10 + timed), warmup=30, least_runs=30).settled
    assert not executor_runner.turn(log([5.0] * 20 + [9.0] * 10 + timed), warmup=30, least_runs=30).settled


def test_executor_runner_is_given_as_many_calls_as_fill_the_seconds() -> None:
    counts = []

    def run(command: str) -> Printed:
        count = int(command.partition("--num_executions=")[2].split()[0])
        counts.append(count)
        return Printed(log([2.0] * count), 0)

    load = Load(threads=1, least_runs=200, least_seconds=3)
    turn = executor_runner.ExecutorRunner("/x").time(run, (1, 3, 8, 8), load)
    # Calls of 2 ms: a second of warm-up and three that are timed.
    assert counts == [executor_runner.PROBE_RUNS, 500 + 1500]
    assert (turn.warmup_runs, turn.runs) == (500, 1500)


@pytest.mark.parametrize(
    ("taken", "said"),
    [("0.000000", "expected times above 0 ms from executor_runner, got 0.000000"), ("1.2.3", "no times of single")],
)
def test_executor_runner_with_other_figures(taken: str, said: str) -> None:
    printed = log([5.0] * executor_runner.PROBE_RUNS).replace("5.000000", taken)
    with pytest.raises(MlkdcError, match=said):
        executor_runner.ExecutorRunner("/x").time(lambda command: Printed(printed, 0), (1, 3, 8, 8), Load(threads=1))


def test_waits() -> None:
    """Two threads, of which one comes later; a core each would be 2 s of time in the second between the looks."""
    noted = """\
100.00 /proc/7/task/7/schedstat 5000000 3000000
100.50 /proc/7/task/7/schedstat 400000000 100000000
100.50 /proc/7/task/8/schedstat 200000000 50000000
101.00 /proc/7/task/7/schedstat 805000000 203000000
101.00 /proc/7/task/8/schedstat 600000000 400000000
"""
    looks = read_looks(noted, threads=2)
    assert read_looks(noted + "101.50 /proc/7/task/7/schedst", threads=2) == looks
    assert looks.waited == pytest.approx((0.2 + 0.4) / 2)
    assert looks.cpu_fraction == pytest.approx((0.8 + 0.6) / 2)
    assert looks.mhz is None
    zeros = re.sub(r"schedstat .*", "schedstat 0 0", noted)
    assert read_looks(zeros, threads=2) == Looks(), "a kernel that does not count"
    assert read_looks(noted.partition("100.50")[0], threads=2) == read_looks("", threads=1) == Looks()
    assert read_looks(noted.replace("805000000 203000000", "805000000"), threads=2) == Looks()


def test_clocks() -> None:
    noted = "".join(f"{second}.00 clock {khz}\n" for second, khz in enumerate([300, 2400, 2300, 2400, 1800, 1800, 600]))
    noted = noted.replace("00\n", "00000\n")
    assert read_looks(noted, threads=1).mhz == (2300, 1800)
    assert read_looks("7.00 clock 2400000\n", threads=1).mhz == (2400, 2400)
    assert read_looks("7.00 clock 0\n", threads=1).mhz is None


class Says(Adb):
    """A phone that answers each command with what it is given."""

    def __init__(self, **dumps: str) -> None:
        super().__init__("adb", "x")
        self.dumps = dumps

    def shell(self, script: str, *, seconds: float = 60.0) -> Output:
        parts = []
        for line in script.splitlines():
            command, _, rule = line.partition(" 2>/dev/null; echo; echo ")
            parts.append(self.dumps.get(command.split()[-1], "") + f"\n{rule}\n")
        return Output("".join(parts).encode(), "", 0)


class Silent(Says):
    """A phone whose answer ends before the first of it."""

    def shell(self, script: str, *, seconds: float = 60.0) -> Output:
        return Output(b"", "", 0)


@pytest.mark.parametrize(
    ("power", "dark"),
    [
        ("  mWakefulness=Awake\n", False),
        ("  mWakefulness=Asleep\n", True),
        ("  mWakefulness=Dozing\nDisplay Power: state=DOZE\n", True),
        ("  mWakefulness=Awake\nDisplay Power: state=OFF\n", True),
        ("Display Power: state=ON\n", False),
        ("", None),
    ],
)
def test_screens(power: str, dark: bool | None) -> None:
    assert read_now(Says(power=power)).dark is dark


@pytest.mark.parametrize(
    "phone",
    [Says(), Says(**{"/proc/loadavg": "n/a"}, thermalservice=f"{CURRENT}Temperature{{mValue=-.-, mType=0"), Silent()],
)
def test_a_phone_that_says_nothing_or_something_else(phone: Adb) -> None:
    now = read_now(phone)
    assert (now.celsius, now.status, now.governor, now.load, now.free_mib) == (None,) * 5


@pytest.mark.parametrize(
    ("present", "cores"), [("0-7", 8), ("0-3,6", 5), ("0", 1), ("all", None), ("0-", None), ("", None)]
)
def test_cores(present: str, cores: int | None) -> None:
    assert read_facts(Says(**{"/sys/devices/system/cpu/present": present})).machine.cores == cores
