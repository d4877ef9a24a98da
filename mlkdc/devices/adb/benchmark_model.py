"""LiteRT's ``benchmark_model``.

Flags and lines: google-ai-edge/LiteRT, tflite/tools/benchmark/benchmark_model.cc and benchmark_tflite_model.cc.
"""

import re

from mlkdc.devices.adb.program import INPUT, MODEL, WARMUP_SECONDS, Program, Run, failed
from mlkdc.devices.base import Load
from mlkdc.errors import MlkdcError
from mlkdc.records.bench import Turn

#: A name of ours: the program matches names by position, and only warns of others.
NAME = "image"
MOST_SECONDS = 600
SETTLED = 0.05
MOST_QUOTED = 500

_NUMBER = r"([\d.]+(?:e[+-]?\d+)?)"
_FIELD = re.compile(rf"(\w+)={_NUMBER}")
_SUMMARY = re.compile(rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, ")


class BenchmarkModel(Program):
    """Times with its own loop, and prints quantiles."""

    name = "benchmark_model"
    runtime = "litert"
    ending = ".tflite"
    output = "output.bin"
    notes = (
        "benchmark_model prints no single calls: there are no samples and no drift, and p90 is the 95th percentile.",
    )

    def time(self, run: Run, shape: tuple[int, ...], load: Load) -> Turn:
        options = [
            f"--num_threads={load.threads}",
            f"--warmup_min_secs={WARMUP_SECONDS:g}",
            f"--num_runs={load.least_runs}",
            f"--min_secs={load.least_seconds:g}",
            f"--max_secs={max(MOST_SECONDS, load.least_seconds):g}",
        ]
        printed = run(self._command(shape, options))
        if printed.code != 0:
            raise failed(self, printed)
        return turn(printed.text)

    def answer(self, shape: tuple[int, ...]) -> str:
        options = [
            "--warmup_runs=0",
            "--warmup_min_secs=0",
            "--num_runs=1",
            "--min_secs=0",
            f"--output_filepath={self.output}",
        ]
        return self._command(shape, options)

    def _command(self, shape: tuple[int, ...], options: list[str]) -> str:
        sizes = ",".join(str(size) for size in shape)
        image = [f"--input_layer={NAME}", f"--input_layer_shape={sizes}", f"--input_layer_value_files={NAME}:{INPUT}"]
        return " ".join([self.path, f"--graph={MODEL}", *image, *options])


def turn(printed: str) -> Turn:
    """What it printed as a record.

    Raises:
        MlkdcError: the lines are missing, those of a version before percentiles, or no times above 0.
    """
    summary = _SUMMARY.search(printed)
    # One line for the warm-up and one for what is timed.
    stretches = [dict(_FIELD.findall(line)) for line in printed.splitlines() if "count=" in line]
    if summary is None or len(stretches) != 2:
        raise MlkdcError(f"benchmark_model printed no timings: {printed.strip()[-200:]!r}")
    warmup, timed = stretches
    if "median" not in timed:
        raise MlkdcError("this benchmark_model prints a mean and no median; take a newer one")
    try:
        return _turn(summary, warmup, timed)
    except (KeyError, ValueError):
        lines = [line.strip() for line in printed.splitlines() if "count=" in line or _SUMMARY.search(line)]
        raise MlkdcError(
            "expected times above 0 us and their percentiles from benchmark_model, got "
            f"{' / '.join(lines)[:MOST_QUOTED]!r}; take a newer one"
        ) from None


def _turn(summary: re.Match[str], warmup: dict[str, str], timed: dict[str, str]) -> Turn:
    """The record. Raises :class:`KeyError` without a field, and :class:`ValueError` where one is no such number."""
    median_ms = _ms(timed, "median")
    return Turn(
        median_ms=median_ms,
        p90_ms=_ms(timed, "p95"),
        # Where all calls took the same time, there is no range.
        min_ms=_ms(timed, "min" if "min" in timed else "curr"),
        load_ms=float(summary[1]) / 1000 or None,
        first_ms=float(summary[2]) / 1000 or None,
        runs=int(timed["count"]),
        warmup_runs=int(warmup["count"]),
        settled=abs(_ms(warmup, "median") - median_ms) <= SETTLED * median_ms,
    )


def _ms(stretch: dict[str, str], field: str) -> float:
    return float(stretch[field]) / 1000
