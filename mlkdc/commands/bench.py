"""Latency and accuracy of runs and artifacts on devices, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlkdc.bench import BASELINE, Plan, Questions, Row, ScoredImages, artifact_rows, bench, eager_row
from mlkdc.bench.rows import endings, named
from mlkdc.commands.bench_file import FiguresFile
from mlkdc.commands.evaluate import is_artifact_folder
from mlkdc.data.runs import run_data, scored_split, warn
from mlkdc.data.scoring import own_images
from mlkdc.devices.browser import is_browser
from mlkdc.devices.urls import device_at
from mlkdc.errors import UsageError
from mlkdc.progress import Progress
from mlkdc.recipe import Bench
from mlkdc.records.answers import KnownAnswers
from mlkdc.records.bench import LOCAL, BenchFile
from mlkdc.records.manifest import Manifest
from mlkdc.records.run import Run, load_run
from mlkdc.spread import spread

#: How many images of a split are scored on a device: all of them.
ALL = "all"


@dataclass(frozen=True)
class Asked:
    """What a user can ask of a measurement; None = as the run's recipe says.

    Args:
        devices: names, as :func:`mlkdc.devices.urls.device_at` takes them.
        threads: numbers of threads; empty = as the recipe says.
        score: so many images of the test split are scored on each device, or ``all``; None = none.
        photos: so many photos of that split are timed from their file to probabilities; None = none.
        data: where the images that are scored or timed are now, if the run's data has moved.
        keep: leave what was put on the devices.
        web_runtime: a ``node_modules`` folder for browsers whose name has none; None = the cache.
        out: the JSON file; None = the run's bench.json if one run is all there is, else ``bench.json`` here.
        command: recorded.
    """

    devices: Sequence[str] = (LOCAL,)
    runs: int | None = None
    seconds: float | None = None
    passes: int | None = None
    threads: Sequence[int] = ()
    baseline: str | None = None
    score: int | str | None = None
    photos: int | None = None
    sustained_minutes: float = 0.0
    cool_to: float | None = None
    data: str | None = None
    keep: bool = False
    web_runtime: Path | None = None
    out: Path | None = None
    command: str = ""


@dataclass
class _Contents:
    """What lies in the folders that are to be timed."""

    runs: list[Run] = field(default_factory=list)
    artifacts: list[Path] = field(default_factory=list)


def bench_paths(
    paths: Sequence[Path], asked: Asked | None = None, *, progress: Progress | None = None
) -> tuple[BenchFile, Path]:
    """Measure run folders (torch eager and all their artifacts) and artifact folders, side by side.

    Args:
        paths: of runs and artifacts.
        asked: what is wanted; None = what the run's recipe says, on this machine.
        progress: hears of every turn.

    Returns:
        The figures, and the file they were written to after every turn; rows of another tool that it held stay in it.

    Raises:
        UsageError: a path is neither a finished run nor an artifact, or no device could be used.
    """
    asked, progress = asked or Asked(), progress or Progress()
    if len(set(asked.devices)) < len(asked.devices):
        raise UsageError("a device was named twice")
    if asked.web_runtime is not None and not any(is_browser(url) for url in asked.devices):
        raise UsageError("--web-runtime goes with a browser; for example: --device browser --web-runtime node_modules")
    devices = [
        device_at(url, keep=asked.keep, say=progress.say, web_runtime=asked.web_runtime) for url in asked.devices
    ]
    # What is named twice is measured once.
    paths = list({path.resolve(): path for path in paths}.values())
    contents = _read(paths)
    rows = _rows(contents)
    spec, target = Bench(), asked.out or Path(BenchFile.FILE)
    if len(contents.runs) == len(paths) == 1:
        only = contents.runs[0]
        spec, target = only.recipe.bench, asked.out or only.path / BenchFile.FILE
    plan = Plan(
        runs=asked.runs or spec.runs,
        seconds=asked.seconds or spec.seconds,
        passes=asked.passes or spec.passes,
        threads=asked.threads or spec.threads,
        baseline=asked.baseline,
        sustained_minutes=asked.sustained_minutes,
        cool_to=asked.cool_to,
        image_size=_common_image_size(contents),
        command=asked.command,
    )
    file = FiguresFile(target)
    try:
        figures = bench(
            rows,
            plan,
            devices=devices,
            questions=_questions(rows, asked),
            say=progress.say,
            write=file.keep,
        )
    except BaseException:
        if file.previous.exists():
            progress.say(f"the figures of the measurement before this one are in {file.previous}")
        raise
    file.finish(figures)
    if file.replaces and not figures.measured:
        progress.say(f"nothing was measured; the earlier figures in {target} stay")
    return file.with_imports(figures), target


def _read(paths: Sequence[Path]) -> _Contents:
    contents = _Contents()
    for path in paths:
        if is_artifact_folder(path):
            contents.artifacts.append(path)
        else:
            run = load_run(path)
            contents.runs.append(run)
            contents.artifacts += run.artifacts()
    return contents


def _rows(contents: _Contents) -> list[Row]:
    rows, several = [], len(contents.runs) > 1
    for name, run in zip(endings([run.path.resolve() for run in contents.runs]), contents.runs, strict=True):
        rows.append(eager_row(run.path, run.weights, f"{name}/{BASELINE}" if several else BASELINE))
    return rows + artifact_rows(contents.artifacts)


def manifests(paths: Sequence[Path]) -> dict[str, Manifest]:
    """Of the artifacts among the paths, by the names of their rows."""
    return {name: Manifest.load(folder) for name, folder in named(_read(paths).artifacts)}


def _common_image_size(contents: _Contents) -> int | None:
    sizes = {run.recipe.data.image_size for run in contents.runs}
    sizes.update(Manifest.load(folder).image_size for folder in contents.artifacts)
    if len(sizes) == 1:
        return sizes.pop()
    return None


def _questions(rows: Sequence[Row], asked: Asked) -> Mapping[str, Questions]:
    """What each artifact is asked, from the run whose ``export`` folder it lies in."""
    questions = {}
    splits: dict[Path, ScoredImages] = {}
    for row in rows:
        if row.subject is None:
            continue
        home = row.subject.folder.parent.parent  # of RUN/export/onnx-fp32
        if home not in splits and (asked.score is not None or asked.photos is not None):
            splits[home] = _split(home, asked)
        known, missing = _known(home, row.subject.manifest)
        scored: ScoredImages | None = None
        photos: Sequence[Path] = ()
        if asked.score is not None:
            scored = _some(splits[home], asked.score)
        if asked.photos is not None:
            photos = _some(splits[home], asked.photos).paths
        questions[row.name] = Questions(known=known, scored=scored, missing=missing, photos=photos)
    return questions


def _known(home: Path, manifest: Manifest) -> tuple[KnownAnswers | None, str]:
    """The torch model's answers that the run keeps, or why there are none for this artifact."""
    try:
        known = KnownAnswers.load(home)
    except UsageError as error:
        return None, str(error)
    if not known.is_of(manifest.image_size, len(manifest.classes)):
        return None, f"the kept images of {home} are of another model; export it again"
    return known, ""


def _split(home: Path, asked: Asked) -> ScoredImages:
    """The run's test split, else its validation split; for photos alone, whose labels do not count, any other."""
    if not Run(home).exists:
        option = "--photos" if asked.score is None else "--score"
        raise UsageError(f"{option} needs the run's images, and {home} is no run folder; omit it, or bench the run")
    run = load_run(home)
    if asked.score is not None:
        own = own_images(run, warn, moved_to=asked.data)
        data, split = own.data, own.split
    else:
        data = run_data(run, moved_to=asked.data)
        split = scored_split(data, run.recipe.data.train_splits)
    return ScoredImages(split, [sample.image for sample in data.split(split)], data.targets(split))


def _some(images: ScoredImages, wanted: int | str) -> ScoredImages:
    """So many of them, evenly chosen, or ``all``."""
    if wanted == ALL:
        return images
    rows = spread(len(images.paths), int(wanted))
    return ScoredImages(images.split, [images.paths[row] for row in rows], images.targets[rows])
