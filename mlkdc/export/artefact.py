"""A run becomes an artefact folder: merged, exported, compared, and put in place only when it is whole."""

import tempfile
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mlkdc.engine.runs import Run
from mlkdc.errors import MlkdcError, UsageError, nearest
from mlkdc.export.exporters import EXPORTERS, INPUT, OUTPUT, Job
from mlkdc.export.merge import MergeReport, merge
from mlkdc.export.parity import ask_both, compare
from mlkdc.export.targets import Target, load_target
from mlkdc.runtime.machine import versions
from mlkdc.runtime.manifest import NAME as MANIFEST
from mlkdc.runtime.manifest import Manifest, describe_files
from mlkdc.types import Preprocess

INPUT_DTYPES = ("float32", "uint8")


def export_run(
    run: Run,
    target: str,
    *,
    precision: str = "fp32",
    dynamic: bool = False,
    input_dtype: str = "float32",
    out: Path | None = None,
) -> Path:
    """Merge a run's model, export it, and compare it with the original on real pictures.

    Args:
        run: finished.
        target: name of a shipped target.
        precision: one of the target's.
        dynamic: any batch size instead of 1.
        input_dtype: ``float32`` or ``uint8``; RGB in 0..255 both.
        out: the artefact folder; default ``RUN/export/TARGET-PRECISION``. An artefact that is there is replaced
            once the new one is whole.

    Returns:
        The artefact folder.

    Raises:
        UsageError: unknown target, precision or dtype, a package is missing (says what to install), ``out`` holds
            something else than an artefact, or the run's data is gone.
        MlkdcError: merging or exporting failed (nothing is written), or the artefact's answers are out of the
            target's tolerance (it is kept, marked as failed).
    """
    spec = load_target(target)
    spec.tolerance(precision)  # raises where there is none
    if input_dtype not in INPUT_DTYPES:
        raise UsageError(f"unknown input type {input_dtype!r}; {nearest(input_dtype, INPUT_DTYPES)}")
    _check_installed(spec)
    folder = out or run.path / "export" / f"{target}-{precision}"
    _check_replaceable(folder)
    try:
        manifest = _build(run, spec, folder, precision, dynamic, input_dtype)
    except OSError as error:
        raise MlkdcError(f"could not write {folder}: {error.strerror or error}; nothing there was changed") from error
    if manifest.status == "failed":
        raise MlkdcError(
            f"{folder} does not answer like the torch model and is marked as failed: {manifest.parity['reason']}"
        )
    return folder


def _build(run: Run, target: Target, folder: Path, precision: str, dynamic: bool, input_dtype: str) -> Manifest:
    """Build, compare and put in place, whatever the comparison says."""
    model, data, results = run.model(), run.data(), run.results
    size = model.preprocess.size
    merged, report = merge(model, size)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A folder in a folder: artefacts of a run are looked for one level deep, so that what an export that was
    # killed leaves behind is never taken for one.
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
        scratch = Path(name)
        built = scratch / "artefact"
        built.mkdir()
        job = Job(merged, built, target, precision, (1, 3, size, size), input_dtype, dynamic, len(run.classes))
        files = EXPORTERS.get(target.format)(job)
        manifest = _describe(run, job, report, model.preprocess, files)
        manifest.save(built)
        answers = ask_both(built, model, data, results["data"].get("skipped", ()), scratch)
        manifest.parity = compare(answers, np.array(manifest.thresholds), target.tolerance(precision))
        manifest.status = "ok" if manifest.parity["passed"] else "failed"
        manifest.save(built)
        if folder.exists():
            folder.rename(scratch / "replaced")
        built.rename(folder)
    return manifest


def _check_installed(target: Target) -> None:
    missing = [package for package in target.packages if find_spec(package) is None]
    if missing:
        raise UsageError(
            f"target {target.name} needs {', '.join(missing)}, not installed; run: pip install 'mlkdc[{target.extra}]'"
        )


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an artefact and is not replaced; name another folder with --out")


def _describe(run: Run, job: Job, report: MergeReport, preprocess: Preprocess, files: list[str]) -> Manifest:
    packages = ("mlkdc", "torch", "torchvision", "timm", *job.target.packages)
    return Manifest(
        name=run.recipe.name,
        target=job.target.name,
        runtime=job.target.runtime,
        precision=job.precision,
        files=describe_files(job.folder, files),
        classes=list(run.classes),
        thresholds=list(run.results["thresholds"]),
        preprocess={
            "size": preprocess.size,
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "resize": preprocess.resize,
            "color": "RGB",
            "range": "0..255",
        },
        input={"name": INPUT, "shape": list(job.input_shape), "dtype": job.input_dtype},
        output={"name": OUTPUT, "shape": [1, job.classes], "dtype": "float32"},
        dynamic_batch=job.dynamic,
        recipe_hash=run.recipe.hash(),
        versions=versions(packages),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        merge=report.flat(),
        parity={},
        status="ok",
    )
