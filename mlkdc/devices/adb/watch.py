"""How long the threads of a program on the phone were ready and had no core, and the clock while it ran.

The program does not say. The kernel counts the time for each thread (``/proc/PID/task/*/schedstat``). A loop on the
phone notes it twice a second, with what its shell has built in: it starts nothing but ``sleep``.
"""

import re
from dataclasses import dataclass
from statistics import median

from mlkdc.devices.adb.program import PID

LOOKS = "looks"
CLOCKS = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"
# It ends with the process, also where the connection ends first; a process may be over before it is seen.
_WATCHED = """rm -f {pid} {looks}
(
for look in 1 2 3 4 5 6 7 8 9 10; do
[ -s {pid} ] && break
sleep 0.05
done
read -r process <{pid} || exit
while [ -d /proc/$process ]; do
read -r uptime rest </proc/uptime
for file in /proc/$process/task/*/schedstat; do
read -r ran waited rest <$file && echo "$uptime $file $ran $waited"
done
fastest=0
for file in {clocks}; do
read -r khz <$file && [ $khz -gt $fastest ] && fastest=$khz
done
echo "$uptime clock $fastest"
sleep 0.5
done
) >{looks} 2>/dev/null </dev/null &
watch=$!
({command})
code=$?
kill $watch 2>/dev/null
exit $code"""
_THREAD = re.compile(r"(\d+(?:\.\d+)?) (\S+) (\d+) (\d+)")
_CLOCK = re.compile(r"\d+(?:\.\d+)? clock (\d+)")


@dataclass(frozen=True)
class Looks:
    """What the loop saw; None where the phone did not say.

    Args:
        waited: ready and without a core, as a fraction of threads x wall time.
        cpu_fraction: with one.
        mhz: of the fastest core, medians of the first and of the second half of the looks. A look after the program's
            end would find an idle core, whose clock falls.
    """

    waited: float | None = None
    cpu_fraction: float | None = None
    mhz: tuple[float, float] | None = None


def watched(command: str) -> str:
    """The command in shell, which writes its process's number to :data:`PID`, with the loop beside it."""
    return _WATCHED.format(pid=PID, looks=LOOKS, clocks=CLOCKS, command=command)


def read_looks(noted: str, threads: int) -> Looks:
    """What the loop noted.

    Args:
        noted: lines of seconds since the phone started, thread, and nanoseconds with and without a core; and of
            seconds, ``clock`` and kHz.
        threads: that the program was to use.
    """
    first: dict[str, tuple[int, int]] = {}
    last: dict[str, tuple[int, int]] = {}
    moments = []
    clocks = []
    # The last line may have been cut off.
    for line in noted.rpartition("\n")[0].splitlines():
        if clock := _CLOCK.fullmatch(line):
            clocks.append(int(clock[1]) / 1000)
            continue
        look = _THREAD.fullmatch(line)
        if look is None:
            return Looks()
        moment, thread, ran, waited = look.groups()
        moments.append(float(moment))
        first_look = moments[-1] == moments[0]
        # A thread that came later had neither run nor waited before.
        first.setdefault(thread, (int(ran), int(waited)) if first_look else (0, 0))
        last[thread] = int(ran), int(waited)
    if len(set(moments)) < 2:
        return Looks(mhz=_halves(clocks))
    available = (moments[-1] - moments[0]) * 1e9 * threads
    ran_ns = waited_ns = 0
    for thread, (ran_before, waited_before) in first.items():
        ran_after, waited_after = last[thread]
        ran_ns += ran_after - ran_before
        waited_ns += waited_after - waited_before
    if not ran_ns:
        # It worked, so the kernel does not count.
        return Looks(mhz=_halves(clocks))
    return Looks(waited_ns / available, ran_ns / available, _halves(clocks))


def _halves(clocks: list[float]) -> tuple[float, float] | None:
    # The loop notes 0 where it can read no clock.
    if not clocks or min(clocks) == 0:
        return None
    half = max(len(clocks) // 2, 1)
    return median(clocks[:half]), median(clocks[-half:])
