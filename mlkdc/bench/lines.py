"""A row on one device at one number of threads: its turns while they are measured, and the record of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from mlkdc.bench.rows import Row
from mlkdc.bench.verdict import judge
from mlkdc.records.bench import Accuracy, LatencyRow, PhotoTiming, RowTiming, Speedup, Turn


@dataclass
class Line:
    """What is known so far; the fields are those of :class:`mlkdc.records.bench.LatencyRow`."""

    row: Row
    device: str
    threads: int
    provider: str
    turns: list[Turn] = field(default_factory=list)
    sustained: Turn | None = None
    sustained_missing: str | None = None
    photos: PhotoTiming | None = None
    photos_missing: str | None = None
    accuracy: Accuracy | None = None
    accuracy_missing: str | None = None
    skipped: str | None = None

    def record(self, speedup: Speedup | None) -> LatencyRow:
        """As it is written."""
        return LatencyRow(
            name=self.row.name,
            device=self.device,
            threads=self.threads,
            precision=self.row.precision,
            provider=self.provider,
            size_bytes=self.row.size_bytes,
            artifact_sha256=self.row.sha256,
            timing=self._timing(),
            turns=tuple(self.turns),
            sustained=self.sustained,
            sustained_missing=self.sustained_missing,
            photos=self.photos,
            photos_missing=self.photos_missing,
            accuracy=self.accuracy,
            accuracy_missing=self.accuracy_missing,
            speedup=speedup,
            skipped=self.skipped,
        )

    def _timing(self) -> RowTiming | None:
        """The medians over the turns; None for a row that was skipped, even in its last pass."""
        turns = self.turns
        if self.skipped is not None or not turns:
            return None
        verdict, why = judge(turns, self.threads)
        return RowTiming(
            median_ms=median([turn.median_ms for turn in turns]),
            p90_ms=median([turn.p90_ms for turn in turns]),
            min_ms=min([turn.min_ms for turn in turns]),
            load_ms=_median([turn.load_ms for turn in turns]),
            first_ms=_median([turn.first_ms for turn in turns]),
            peak_mib=max([turn.peak_mib for turn in turns if turn.peak_mib is not None], default=None),
            runs=sum([turn.runs for turn in turns]),
            passes=len(turns),
            verdict=verdict,
            why=why,
        )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return median(known)
