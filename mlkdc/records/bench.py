"""bench.json: latency, accuracy and verdict, one row for each artifact, device and number of threads."""

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from mlkdc.records.base import FileRecord, Milliseconds, Moment, Record
from mlkdc.records.bench_formats import from_format_1, from_format_2
from mlkdc.records.machine import Machine

#: The row that speedups refer to where the user names no other: the run's model in torch, on this machine.
BASELINE = "torch eager"
LOCAL = "local"

#: Whether a timing can be relied on, worst last; ``unknown`` where the device says too
#: little to judge, or too few processes were timed.
Verdict = Literal["stable", "unknown", "spread", "unsettled", "disturbed", "throttled"]


class Conditions(Record):
    """What surrounded one turn, as far as the device says; None where it does not.

    Args:
        waited: how long the process's threads were ready and had no core, as a fraction of threads x wall time.
        cpu_fraction: how long they had one, as a fraction of threads x wall time; None also where another processor
            computes.
        celsius: of the hottest sensor, before and after.
        mhz: of the fastest core, before and after; of a phone's program, in the first and second half of the turn.
        throttled: what the firmware reported (Raspberry Pi: bits of ``vcgencmd get_throttled``), in words; empty for
            nothing, None where it reports nothing.
        governor: of the processor's clock.
        load: processes that ran or waited, over the last minute, before.
        free_mib: main memory that was available before.
        cooled_seconds: waited until the device was as cool as at the start.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    waited: float | None = None
    cpu_fraction: float | None = None
    celsius: tuple[float, float] | None = None
    mhz: tuple[float, float] | None = None
    throttled: str | None = None
    governor: str | None = None
    load: float | None = None
    free_mib: float | None = None
    cooled_seconds: float = 0.0


class Turn(Record):
    """What one process measured; milliseconds a call.

    Args:
        load_ms: from a verified file to a model that can be called; None where it was not measured.
        first_ms: the first call; None where it was not measured.
        runs: timed calls, after the warm-up.
        warmup_runs: calls before them, the first included.
        settled: whether the warm-up came to a steady time before its limit.
        drift: median of the last third of the calls over that of the first third.
        peak_mib: largest memory of the process; None where the system does not say.
        samples_us: microseconds of single calls in order; where there were more than 200, evenly chosen ones. Empty
            where only the summary is known.
        minute_ms: medians of successive minutes, for a sustained load.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    median_ms: Milliseconds
    p90_ms: Milliseconds
    min_ms: Milliseconds
    load_ms: Milliseconds | None = None
    first_ms: Milliseconds | None = None
    runs: int = Field(ge=1)
    warmup_runs: int = Field(ge=0)
    settled: bool
    drift: float | None = None
    peak_mib: float | None = None
    conditions: Conditions = Conditions()
    samples_us: tuple[int, ...] = ()
    minute_ms: tuple[Milliseconds, ...] = ()


class RowTiming(Record):
    """The medians over a row's turns (``min_ms``: the least, ``peak_mib``: the largest).

    Args:
        runs: timed calls in all turns.
        passes: turns.
        verdict: whether it can be relied on.
        why: what the verdict rests on, and what to do; empty for ``stable``.
    """

    median_ms: Milliseconds
    p90_ms: Milliseconds
    min_ms: Milliseconds
    load_ms: Milliseconds | None = None
    first_ms: Milliseconds | None = None
    peak_mib: float | None = None
    runs: int
    passes: int
    verdict: Verdict
    why: str = ""

    @property
    def stable(self) -> bool:
        """Whether nothing speaks against it."""
        return self.verdict == "stable"


class Accuracy(Record):
    """The device's answers to images, next to the torch model's.

    Args:
        images: that both answered.
        max_probability_difference: over all images and labels.
        within_tolerance: whether that is as close as the export had to be, or would have had to where nothing was
            compared; None in files of earlier versions, which did not say so.
        label_flips: decisions on the other side of their threshold.
        map_images: images of the split that were scored there; 0 where none were asked for.
        map_percent: mAP of the answers on the device; None where it was not asked for.
        split: that they are from.
    """

    images: int
    max_probability_difference: float
    within_tolerance: bool | None = None
    label_flips: int
    map_images: int = 0
    map_percent: float | None = None
    split: str | None = None


class Speedup(Record):
    """How many times as fast as another row of the same pass, with a 95 % interval over the passes.

    Args:
        to: name of that row.
        low, high: None where there were fewer than five passes (earlier versions: fewer than two).
    """

    to: str
    value: float
    low: float | None = None
    high: float | None = None


class PhotoTiming(Record):
    """From photos' files to probabilities on the device, one after another; medians in milliseconds a photo.

    Args:
        photos: how many.
        megapixels: of one, the median.
        prepare_ms: to open, decode and resize it, with Pillow.
        run_ms: for the model's answer, conversion of the pixels included.
        total_ms, p90_ms: of both together.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    photos: int
    megapixels: float
    prepare_ms: Milliseconds
    run_ms: Milliseconds
    total_ms: Milliseconds
    p90_ms: Milliseconds


class LatencyRow(Record):
    """One model on one device with one number of threads.

    Args:
        name: of the artifact's folder (with those above it in front where two have one name), or ``torch eager``.
        device: key of :attr:`BenchFile.devices`.
        threads: 0 where another tool measured, which does not say.
        precision: of an artifact.
        provider: what ran it there (``onnxruntime``, ``LiteRT.js wasm``).
        size_bytes: of the model files; None where that means nothing.
        artifact_sha256: over the checksums of its files; None for what is not an artifact.
        timing: None where it could not be timed.
        turns: each process, in order.
        sustained: a turn of minutes, where one was asked for.
        sustained_missing: why it failed.
        photos: from the files of photos, where that was asked for.
        photos_missing: why it failed.
        accuracy: as far as it was asked for.
        accuracy_missing: why there is none, or less than was asked for.
        speedup: None without a baseline.
        skipped: why it could not be timed.
        imported_from: of a row measured by another tool.
    """

    name: str
    device: str = LOCAL
    threads: int
    precision: str | None = None
    provider: str | None = None
    size_bytes: int | None = None
    artifact_sha256: str | None = None
    timing: RowTiming | None = None
    turns: tuple[Turn, ...] = ()
    sustained: Turn | None = None
    sustained_missing: str | None = None
    photos: PhotoTiming | None = None
    photos_missing: str | None = None
    accuracy: Accuracy | None = None
    accuracy_missing: str | None = None
    speedup: Speedup | None = None
    skipped: str | None = None
    imported_from: str | None = None

    @property
    def of_artifact(self) -> bool:
        """Whether mlkdc measured an artifact there, and not the torch model."""
        # Earlier formats kept no precision.
        return self.imported_from is None and (self.precision is not None or not self.name.endswith(BASELINE))

    @property
    def answers_otherwise(self) -> bool:
        """Whether the device's answers differ from the torch model's by more than the export allowed."""
        return self.accuracy is not None and self.accuracy.within_tolerance is False

    @property
    def slowest_ms(self) -> float | None:
        """The slowest of the turns' medians, which is what a budget of time is held against; None without a timing.

        A user's process is one such turn: half of them are slower than the median over the turns.
        """
        if self.timing is None:
            return None
        # Earlier formats kept no turns.
        return max([turn.median_ms for turn in self.turns], default=self.timing.median_ms)


class DeviceInfo(Record):
    """One device.

    Args:
        url: as the user named it.
        libc: name and version of the C library; None where there is none.
        python: version; None where the device has none that was used.
        versions: of the runtimes there.
        agent_sha256: of the program that measured there; None where another did.
        notes: what limits its figures, in sentences.
    """

    url: str
    machine: Machine
    libc: str | None = None
    python: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    agent_sha256: str | None = None
    notes: tuple[str, ...] = ()


class Protocol(Record):
    """How it was measured.

    Args:
        passes: processes for each row.
        least_runs, least_seconds: timed calls of each process, and how long they last at least.
        cool_to: degrees Celsius to wait for before a turn; None = the device's at its start, and 3 more.
        order: names of the rows in the order of their turns, by device.
        seed: of that order.
    """

    passes: int = Field(ge=1)
    least_runs: int
    least_seconds: float
    cool_to: float | None = None
    seed: int = 0
    order: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class Lost(Record):
    """A device that could not be reached, or was lost.

    Args:
        after: turns that were measured until then, which are kept.
        why: in a sentence.
    """

    device: str
    after: int
    why: str


class BenchFile(FileRecord):
    """bench.json, written after every turn.

    Args:
        command: that made it.
        when: in ISO 8601.
        image_size: of the models' input in pixels; None where they differ.
        devices: by name, in the order in which they were asked for.
    """

    FILE: ClassVar[str] = "bench.json"
    FORMAT: ClassVar[int] = 3
    REMEDY: ClassVar[str] = "measure again with `mlkdc bench`"

    command: str
    when: Moment
    image_size: int | None
    protocol: Protocol
    devices: dict[str, DeviceInfo]
    rows: tuple[LatencyRow, ...]
    lost: tuple[Lost, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether a device has answered, or a turn was timed."""
        return any(row.turns or row.accuracy is not None for row in self.rows)

    @classmethod
    def upgraded(cls, written: object, values: dict[str, Any]) -> dict[str, Any] | None:
        """Formats 1 and 2 knew one device, and neither its conditions nor single calls."""
        if written == 1:
            return from_format_2(from_format_1(values))
        if written == 2:
            return from_format_2(values)
        return None
