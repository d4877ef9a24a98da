"""Measure rows on devices, one turn after another, and keep what was measured after each."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from mlkdc.bench.accuracy import Examination, Questions
from mlkdc.bench.lines import Line
from mlkdc.bench.ratios import speedup
from mlkdc.bench.rows import Row
from mlkdc.devices import Device, DeviceLost, Load, LocalDevice
from mlkdc.errors import MlkdcError, UsageError, first_line, nearest
from mlkdc.figures import counted
from mlkdc.figures import threads as threads_in_words
from mlkdc.records.bench import BASELINE, BenchFile, DeviceInfo, Lost, Protocol, Speedup, Turn
from mlkdc.resources import keep_traceback

LEAST_RUNS = 200
TORCH = "torch"
#: A device may be so much warmer than at its start when a turn begins.
WARMER = 3.0
#: Between questions whether another measurement has ended.
WAIT_SECONDS = 2.0

Say = Callable[[str], None]
Write = Callable[[BenchFile], object]


@dataclass(frozen=True)
class Plan:
    """What is asked of every device.

    Args:
        runs, seconds: timed calls of each process, and how long they last at least.
        passes: processes per row and number of threads.
        threads: numbers of threads; one that comes twice counts once.
        baseline: name of the row that speedups refer to; None = the torch model, where it is a row.
        sustained_minutes: of one more turn for each row; 0 = none.
        cool_to: degrees Celsius to wait for before each turn; None = as at the start, and 3 more.
        image_size: of the models' input in pixels, recorded.
        command: what the user typed, recorded.
        seed: of the order of the rows.
    """

    runs: int = LEAST_RUNS
    seconds: float = 3.0
    passes: int = 5
    threads: Sequence[int] = (1,)
    baseline: str | None = None
    sustained_minutes: float = 0.0
    cool_to: float | None = None
    image_size: int | None = None
    command: str = ""
    seed: int = 0


def bench(
    rows: Sequence[Row],
    plan: Plan,
    *,
    devices: Sequence[Device] = (),
    questions: Mapping[str, Questions] | None = None,
    say: Say = lambda text: None,
    write: Write = lambda figures: None,
) -> BenchFile:
    """Time every row on every device at every number of threads.

    On each device: the answers to known images first, then passes, in each of which every row has a turn in a process
    of its own, in a new random order, so that a slow minute falls on all of them alike. A row that cannot run has
    ``skipped``: why. A device that is lost keeps what was measured, and the others go on.

    Args:
        rows: what to time; those without an artifact run on this machine only.
        plan: how.
        devices: where; none = this machine.
        questions: by name of the row, what its answers are compared with.
        say: called with a short text before each turn.
        write: called with the figures so far after each turn.

    Raises:
        UsageError: too few runs, no rows, passes or threads, rows of one name, an unknown baseline, or no device could
            be used at all.
    """
    _check(rows, plan)
    measurement = _Measurement(rows, plan, questions or {}, say, write)
    refusals = []
    for device in devices or [LocalDevice()]:
        refusal = measurement.on(device)
        if refusal is not None:
            refusals.append(refusal)
    if refusals and len(refusals) == len(devices or [None]):
        raise refusals[0]
    return measurement.figures()


def _check(rows: Sequence[Row], plan: Plan) -> None:
    if plan.runs < LEAST_RUNS or plan.passes < 1 or not rows or not plan.threads or min(plan.threads) < 1:
        raise UsageError(
            f"expected at least {LEAST_RUNS} runs, 1 pass, 1 row and 1 thread; "
            f"got {plan.runs} runs, {plan.passes} passes, {len(rows)} rows, threads {list(plan.threads)}"
        )
    names = [row.name for row in rows]
    if twice := [name for name in names if names.count(name) > 1]:
        # Answers, speedups and recommendations go by the name.
        raise UsageError(f"expected a name of its own for each row, got {twice[0]!r} twice; rename a folder")
    if plan.baseline is not None and plan.baseline not in names:
        raise UsageError(f"the baseline {plan.baseline!r} is not among what is timed; {nearest(plan.baseline, names)}")


class _Measurement:
    """All lines of all devices."""

    def __init__(
        self, rows: Sequence[Row], plan: Plan, questions: Mapping[str, Questions], say: Say, write: Write
    ) -> None:
        self._rows, self._plan, self._questions = rows, plan, questions
        self._say, self._write = say, write
        self._random = random.Random(plan.seed)
        self._lines: list[Line] = []
        self._devices: dict[str, DeviceInfo] = {}
        self._order: dict[str, tuple[str, ...]] = {}
        self._lost: list[Lost] = []
        self._when = datetime.now(timezone.utc).isoformat(timespec="seconds")

    def on(self, device: Device) -> UsageError | None:
        """Measure on one device; why it was refused, if its user has to set it up first."""
        lines: list[Line] = []
        try:
            with device:
                self._devices[device.name] = device.open()
                self._wait_until_alone(device)
                lines = self._lines_of(device)
                self._lines += lines
                self._ask(device, lines)
                self._passes(device, lines)
                self._sustain(device, lines)
                self._from_files(device, lines)
        except (DeviceLost, UsageError) as error:
            return self._lose(device, lines, error)
        except (MlkdcError, OSError):
            # Of this machine, as a full disk or a terminal that is gone: it ends the others as well.
            raise
        except Exception as error:
            # A device may send what nobody thought of; where it is a fault of ours, the file says so.
            place = keep_traceback(error)
            if place is None:
                raise
            what = f"{type(error).__name__}: {first_line(error)}"
            why = f"{device.name} was lost: its measurement failed unexpectedly ({what}); where, is in {place}"
            return self._lose(device, lines, DeviceLost(why))
        return None

    def _lose(self, device: Device, lines: Sequence[Line], error: DeviceLost | UsageError) -> UsageError | None:
        """Keep what was measured on it until then; as :meth:`on`."""
        after = sum(len(line.turns) for line in lines)
        for line in lines:
            if not line.turns:
                line.skipped = line.skipped or "the device was lost before its first turn"
        self._lost.append(Lost(device=device.name, after=after, why=str(error)))
        self._say(str(error))
        # Where something was measured, the others and the file go before the refusal; else earlier figures stay.
        if isinstance(error, UsageError) and after == 0:
            return error
        self._write(self.figures())
        return None

    def _wait_until_alone(self, device: Device) -> None:
        """Two measurements at once would slow each other down."""
        if device.claim():
            return
        self._say(f"{device.name} is being measured by another mlkdc; waiting for its end (Ctrl-C gives up)")
        while not device.claim():
            time.sleep(WAIT_SECONDS)

    def _lines_of(self, device: Device) -> list[Line]:
        lines = []
        for row in self._rows:
            if row.subject is None and not isinstance(device, LocalDevice):
                continue
            provider, skipped = TORCH, row.skipped
            if row.subject is not None:
                try:
                    provider = device.provider(row.subject)
                except MlkdcError as error:
                    provider, skipped = row.subject.manifest.runtime, str(error)
            # A number that is given twice would be compared with itself.
            for threads in dict.fromkeys(self._plan.threads):
                lines.append(Line(row, device.name, threads, provider, skipped=skipped))
        return lines

    def _ask(self, device: Device, lines: Sequence[Line]) -> None:
        """Once for each artifact: the number of threads changes no answer."""
        for line in lines:
            if line.threads != self._plan.threads[0] or line.skipped is not None or line.row.subject is None:
                continue
            questions = self._questions.get(line.row.name, Questions())
            self._say(f"{device.name}: answers of {line.row.name}")
            same_row = [other for other in lines if other.row is line.row]
            examination = Examination(device, line.row.subject, questions)
            try:
                examination.ask()
            except DeviceLost:
                raise
            except MlkdcError as error:
                for other in same_row:
                    other.skipped = str(error)
            finally:
                for other in same_row:
                    other.accuracy, other.accuracy_missing = examination.accuracy(), examination.missing() or None
            self._write(self.figures())

    def _passes(self, device: Device, lines: Sequence[Line]) -> None:
        order: list[str] = []
        for number in range(1, self._plan.passes + 1):
            shuffled = list(lines)
            self._random.shuffle(shuffled)
            for line in shuffled:
                if line.skipped is not None:
                    continue
                words = threads_in_words(line.threads)
                self._say(f"{device.name}, pass {number}/{self._plan.passes}: {line.row.name}, {words}")
                try:
                    line.turns.append(self._turn(device, line, self._plan.seconds))
                    order.append(f"{line.row.name}, {words}")
                except DeviceLost:
                    raise
                except MlkdcError as error:
                    # A row that fails is not tried again.
                    line.skipped = str(error)
                self._order[device.name] = tuple(order)
                self._write(self.figures())

    def _sustain(self, device: Device, lines: Sequence[Line]) -> None:
        if not self._plan.sustained_minutes:
            return
        for line in lines:
            if line.skipped is None:
                self._say(f"{device.name}, {self._plan.sustained_minutes:g} min without a pause: {line.row.name}")
                try:
                    line.sustained = self._turn(device, line, 60 * self._plan.sustained_minutes)
                except DeviceLost:
                    raise
                except MlkdcError as error:
                    # The passes before it hold.
                    line.sustained_missing = str(error)
                self._write(self.figures())

    def _from_files(self, device: Device, lines: Sequence[Line]) -> None:
        for line in lines:
            photos = self._questions.get(line.row.name, Questions()).photos
            if not photos or line.skipped is not None or line.row.subject is None:
                continue
            self._say(f"{device.name}, {counted(len(photos), 'photo')} from files: {line.row.name}")
            try:
                line.photos = device.photos(line.row.subject, photos, line.threads)
            except DeviceLost:
                raise
            except MlkdcError as error:
                # What was timed before holds.
                line.photos_missing = str(error)
            self._write(self.figures())

    def _turn(self, device: Device, line: Line, seconds: float) -> Turn:
        """One process."""
        load = Load(line.threads, self._plan.runs, seconds, self._cool_to(device))
        if line.row.subject is not None:
            return device.turn(line.row.subject, load)
        assert isinstance(device, LocalDevice)
        assert line.row.run is not None
        return device.eager(line.row.run, load)

    def _cool_to(self, device: Device) -> float | None:
        start = device.start_celsius
        if self._plan.cool_to is not None or start is None:
            return self._plan.cool_to
        return start + WARMER

    def figures(self) -> BenchFile:
        """What is known by now."""
        plan = self._plan
        protocol = Protocol(
            passes=plan.passes,
            least_runs=plan.runs,
            least_seconds=plan.seconds,
            cool_to=plan.cool_to,
            seed=plan.seed,
            order=self._order,
        )
        return BenchFile(
            command=plan.command,
            when=self._when,
            image_size=plan.image_size,
            protocol=protocol,
            devices=self._devices,
            rows=tuple(line.record(self._speedup(line)) for line in self._lines),
            lost=tuple(self._lost),
        )

    def _speedup(self, line: Line) -> Speedup | None:
        """Over the baseline's line on the same device with as many threads."""
        baseline = self._plan.baseline or BASELINE
        for other in self._lines:
            same = other.device == line.device and other.threads == line.threads
            if same and other.row.name == baseline and other.skipped is None and line.skipped is None:
                return speedup(baseline, other.turns, line.turns)
        return None
