"""How long the threads of a program on the phone were ready and had no core, which it does not say itself.

The kernel counts that for each thread (``/proc/PID/task/*/schedstat``). A loop on the phone notes it twice a second,
with what its shell has built in: it starts nothing but ``sleep``.
"""

import re
from dataclasses import dataclass

from mlkdc.devices.adb.program import PID

WAITS = "waits"
# It ends with the process, also where the connection ends first; a process may be over before it is seen.
_WATCHED = """rm -f {pid} {waits}
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
sleep 0.5
done
) >{waits} 2>/dev/null </dev/null &
watch=$!
({command})
code=$?
kill $watch 2>/dev/null
exit $code"""
_LOOK = re.compile(r"(\d+(?:\.\d+)?) (\S+) (\d+) (\d+)")


@dataclass(frozen=True)
class Waits:
    """Fractions of threads x wall time; None where the phone did not say.

    Args:
        waited: ready and without a core.
        cpu_fraction: with one.
    """

    waited: float | None
    cpu_fraction: float | None


def watched(command: str) -> str:
    """The command in shell, which writes its process's number to :data:`PID`, with the loop beside it."""
    return _WATCHED.format(pid=PID, waits=WAITS, command=command)


def read_waits(noted: str, threads: int) -> Waits:
    """What the loop noted.

    Args:
        noted: lines of seconds since the phone started, thread, and nanoseconds with and without a core.
        threads: that the program was to use.
    """
    first: dict[str, tuple[int, int]] = {}
    last: dict[str, tuple[int, int]] = {}
    moments = []
    # The last line may have been cut off.
    for line in noted.rpartition("\n")[0].splitlines():
        look = _LOOK.fullmatch(line)
        if look is None:
            return Waits(None, None)
        moment, thread, ran, waited = look.groups()
        moments.append(float(moment))
        first_look = moments[-1] == moments[0]
        # A thread that came later had neither run nor waited before.
        first.setdefault(thread, (int(ran), int(waited)) if first_look else (0, 0))
        last[thread] = int(ran), int(waited)
    if len(set(moments)) < 2:
        return Waits(None, None)
    available = (moments[-1] - moments[0]) * 1e9 * threads
    ran_ns = waited_ns = 0
    for thread, (ran_before, waited_before) in first.items():
        ran_after, waited_after = last[thread]
        ran_ns += ran_after - ran_before
        waited_ns += waited_after - waited_before
    if not ran_ns:
        # It worked, so the kernel does not count.
        return Waits(None, None)
    return Waits(waited_ns / available, ran_ns / available)
