"""`mlkdc bench`."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlkdc.cli.shared import command_line, examples, pick_run, show
from mlkdc.errors import MlkdcError, UsageError

if TYPE_CHECKING:
    from mlkdc.records.bench import BenchFile, LatencyRow


class Milliseconds(click.ParamType[float]):
    """``8ms``, ``8`` or ``0.5s``."""

    name = "MS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)?", str(value).strip())
        if match is None or float(match[1]) == 0:
            self.fail(f"expected milliseconds such as 8ms, got {value!r}", param, ctx)
        if match[2] == "s":
            return 1000 * float(match[1])
        return float(match[1])


class Finite(click.FloatRange):
    """A number within limits, which infinity and NaN are not."""

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"expected a finite number, got {value!r}", param, ctx)
        return number


class Count(click.ParamType[int | str]):
    """A number of images, or ``all``."""

    name = "N|all"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        text = str(value)
        if text == "all":
            return text
        if not text.isdecimal() or int(text) < 1:
            self.fail(f"expected a number of images or all, got {value!r}", param, ctx)
        return int(text)


MIN_MAP_ALONE = "--min-map goes with --budget; for example: --budget 8ms --min-map 60"
budget_option = click.option(
    "--budget", type=Milliseconds(), help="Say which artifact to ship within this time, such as 8ms."
)
min_map_option = click.option(
    "--min-map", type=Finite(0, 100), help="With --budget: and with at least this mAP, in percent."
)


@click.command(
    short_help="Measure latency and accuracy on devices.",
    epilog=examples(
        "mlkdc bench runs/photos --threads 1 --threads 4",
        "mlkdc bench runs/photos --device local --device ssh://pi@kitchen --score all",
        "mlkdc bench runs/a/export/onnx-fp32 runs/b/export/onnx-int8 --out ab.json",
        "mlkdc bench runs/photos/export/onnx-int8 --fail-over 8ms",
        "mlkdc bench runs/photos --import qai-hub profile.json --device 'Galaxy S24'",
    ),
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN|ARTIFACT]...")
@click.option("--device", "devices", multiple=True, default=["local"], show_default=True, help="May be repeated.")
@click.option("--threads", "threads", type=click.IntRange(1, 1024), multiple=True, help="May be repeated.")
@click.option("--passes", type=click.IntRange(min=1), help="Processes per row, rows in random order.")
@click.option("--runs", type=click.IntRange(min=200), help="Timed calls in each process, at least.")
@click.option("--seconds", type=Finite(min=0, min_open=True), help="That they last, at least.")
@click.option("--baseline", metavar="NAME", help="The row that speedups refer to; default: torch eager.")
@click.option("--score", type=Count(), help="Measure mAP there too, on so many test images.")
@click.option("--photos", type=click.IntRange(min=1), help="Then time so many test images from file to answer.")
@click.option("--data", "data_path", metavar="PATH", help="With --score or --photos: where the images are now.")
@click.option("--sustained", type=Finite(min=0), default=0.0, metavar="MIN", help="Then minutes of load.")
@click.option("--cool-to", type=Finite(min=0, max=150), metavar="C", help="Wait for this temperature before each turn.")
@click.option(
    "--web-runtime",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="For browsers: a node_modules folder with the runtimes; nothing is fetched then.",
)
@click.option("--keep", is_flag=True, help="Leave what was put on the device.")
@budget_option
@min_map_option
@click.option("--fail-over", type=Milliseconds(), help="Exit with 1 if a turn takes longer, for CI.")
@click.option(
    "--import",
    "imported",
    type=(str, click.Path(path_type=Path)),
    metavar="TOOL FILE",
    help="Measure nothing: add a row that another tool measured (qai-hub: a profile's JSON) to the run's figures.",
)
@click.option("--name", metavar="NAME", help="With --import: of the row; default: the file's.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="JSON file for the figures; default: bench.json, in RUN or for artifacts here.",
)
def bench(
    paths: tuple[Path, ...],
    devices: tuple[str, ...],
    threads: tuple[int, ...],
    passes: int | None,
    runs: int | None,
    seconds: float | None,
    baseline: str | None,
    score: int | str | None,
    photos: int | None,
    data_path: str | None,
    sustained: float,
    cool_to: float | None,
    web_runtime: Path | None,
    keep: bool,
    budget: float | None,
    min_map: float | None,
    fail_over: float | None,
    imported: tuple[str, Path] | None,
    name: str | None,
    out: Path | None,
) -> None:
    """Measure latency, and whether the device answers as the model does, each turn in a separate process.

    A device is `local`; `ssh://[user@]host[:port][?python=PATH]`, a machine with Python, NumPy and the artifact's
    runtime; `adb://[SERIAL]`, an Android phone; or `browser`, `browser://chromium` and `browser+adb://SERIAL`, which
    open a page. On this machine, a run's torch model is timed too.
    """
    from mlkdc.cli.progress import Shown
    from mlkdc.commands.bench import Asked, bench_paths
    from mlkdc.devices.browser import is_browser

    if min_map is not None and budget is None:
        raise UsageError(MIN_MAP_ALONE)
    if imported is not None:
        _import(imported, paths, devices, name, out)
        return
    if name is not None:
        raise UsageError("--name goes with --import; for example: --import qai-hub profile.json --name onnx-int8")
    if data_path is not None and score is None and photos is None:
        raise UsageError("--data goes with --score or --photos; for example: --score all --data photos/")
    if cool_to is not None and all(map(is_browser, devices)):
        raise UsageError("--cool-to waits for a device to cool, and browsers tell no temperature; omit it")
    asked = Asked(
        devices=devices,
        runs=runs,
        seconds=seconds,
        passes=passes,
        threads=threads,
        baseline=baseline,
        score=score,
        photos=photos,
        data=data_path,
        sustained_minutes=sustained,
        cool_to=cool_to,
        keep=keep,
        web_runtime=web_runtime,
        out=out,
        command=command_line(),
    )
    folders = list(paths) or [pick_run(None).path]
    figures, saved = bench_paths(folders, asked, progress=Shown())
    _show(figures)
    if budget is not None:
        _show_recommendations(figures, folders, budget, min_map)
    click.echo(f"\n{saved}")
    raise_if_bad(figures, fail_over)


def _import(
    imported: tuple[str, Path], paths: tuple[Path, ...], devices: tuple[str, ...], name: str | None, out: Path | None
) -> None:
    """Add a row to the figures of a run, or of the file that ``--out`` names."""
    from mlkdc.bench.imported import with_import
    from mlkdc.records.bench import LOCAL, BenchFile

    _refuse_other_options()
    if len(paths) > 1 or len(devices) > 1:
        raise UsageError("--import adds one row to the figures of one run; name one run, and one --device at most")
    target = out or pick_run(paths[0] if paths else None).path / BenchFile.FILE
    if not target.is_file():
        raise UsageError(
            f"{target} is missing: --import adds a row to measured figures; run `mlkdc bench` on the run first"
        )
    tool, file = imported
    device = None if devices == (LOCAL,) else devices[0]
    figures = with_import(BenchFile.load_from(target), tool, file, name=name, device=device)
    figures.save_as(target)
    _show(figures)
    click.echo(f"\n{target}")


def _refuse_other_options() -> None:
    """Options that would measure, next to ``--import``."""
    context = click.get_current_context()
    for parameter in context.command.params:
        assert parameter.name is not None
        typed = context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
        if typed and parameter.name not in ("paths", "imported", "devices", "name", "out"):
            raise UsageError(f"--import measures nothing, so {parameter.opts[0]} has no meaning with it; omit it")


def _show(figures: "BenchFile") -> None:
    from mlkdc.bench.table import bench_tables, remarks

    tables = bench_tables(figures)
    for device, parts in tables.items():
        if len(tables) > 1:
            click.echo(f"{device}\n")
        for part in parts:
            show(part)
            click.echo()
    for sentence in remarks(figures):
        click.echo(f"- {sentence}")


def _show_recommendations(figures: "BenchFile", folders: list[Path], budget: float, min_map: float | None) -> None:
    from mlkdc.bench.devices import short_names
    from mlkdc.bench.recommend import Budget, recommend
    from mlkdc.commands.bench import manifests

    click.echo()
    names = short_names(figures)
    for item in recommend(figures, manifests(folders), Budget(budget, min_map)):
        device = names[item.device]
        click.echo(f"{device}: ship {item.why}" if item.row else f"{device}: {item.why}")


def raise_if_bad(figures: "BenchFile", fail_over: float | None = None) -> None:
    """What makes the command fail, after all of it was shown and saved."""
    reasons = [f"{lost.device} was lost" for lost in figures.lost]
    if all(row.timing is None for row in figures.rows if row.imported_from is None):
        reasons.append("nothing could be timed")
    for row in figures.rows:
        if row.answers_otherwise:
            reasons.append(f"{row.name} answers otherwise on {row.device}")
        if fail_over is not None and row.precision is not None:
            reasons += _too_slow(row, fail_over)
    if reasons:
        raise MlkdcError("; ".join(dict.fromkeys(reasons)))


def _too_slow(row: "LatencyRow", fail_over: float) -> list[str]:
    """Why an artifact does not pass; by the same figure as in a budget."""
    if row.timing is None or row.slowest_ms is None:
        return [f"{row.name} could not be timed on {row.device}"]
    if row.slowest_ms <= fail_over:
        return []
    slow = f"{row.name} takes up to {row.slowest_ms:.2f} ms on {row.device}, more than {fail_over:g}"
    if not row.timing.stable:
        slow += f" (its verdict is {row.timing.verdict})"
    return [slow]
