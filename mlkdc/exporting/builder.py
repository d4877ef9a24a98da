"""A run becomes an artifact folder: merged, exported, compared, and put in place only when it is whole."""

import copy
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlkdc.errors import MlkdcError, UsageError, first_line, nearest
from mlkdc.exporting.describe import describe
from mlkdc.exporting.formats import EXPORTERS, Built, Job, Quantization
from mlkdc.exporting.int8.bias import correct_biases
from mlkdc.exporting.int8.equalize import equalize as even_out
from mlkdc.exporting.int8.guard import Climb, climb
from mlkdc.exporting.int8.sensitivity import sensitivity, weighted_modules
from mlkdc.exporting.merging.merge import merge
from mlkdc.exporting.parity import Reference, ask, compare, make_reference, pixels_of
from mlkdc.records.manifest import Manifest, is_artifact
from mlkdc.records.run import Run
from mlkdc.runtime.base import RUNTIMES
from mlkdc.runtime.targets import Target, Tolerance, load_target
from mlkdc.train.input.store import ImageStore

INPUT_DTYPES = ("float32", "uint8")
CALIBRATION_SEED = 0
# Enough to rank layers by, for which each layer takes a pass over them, and to correct biases, for which all of them
# are in memory with what flows between two layers.
MEASURED_IMAGES = 64


@dataclass(frozen=True)
class Request:
    """What is asked for: see :func:`export_run`."""

    run: Run
    target: Target
    precision: str
    tolerance: Tolerance
    dynamic: bool
    input_dtype: str
    equalize: bool
    reduce_range: bool
    reference: Reference | None
    say: Callable[[str], None]


def export_run(
    run: Run,
    target: str,
    *,
    precision: str | None = None,
    dynamic: bool = False,
    input_dtype: str = "float32",
    max_drop: float | None = None,
    max_class_drop: float | None = None,
    equalize: bool = False,
    reduce_range: bool | None = None,
    reference: Reference | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Merge a run's model, export it, and compare it with the original on real pictures.

    An int8 export that loses too much climbs the ladder of :func:`mlkdc.exporting.int8.guard.climb`; where no step
    holds, an fp16 artifact is made beside it if the target has that precision.

    Args:
        run: finished.
        target: name of a shipped target.
        precision: one of the target's; None = its first.
        dynamic: any batch size instead of 1.
        input_dtype: ``float32`` or ``uint8``; RGB in 0..255 both.
        max_drop, max_class_drop: allowed fall of mAP and of the worst class's AP, in points; None = the recipe's,
            else the target's.
        equalize: even out channels over layers before int8 (:func:`mlkdc.exporting.int8.equalize.equalize`), also
            where the recipe does not ask for it.
        reduce_range: for targets that do so, keep int8 weights to half of their range; None = as the recipe says.
            With the whole range an artifact answers better, and x86 processors without VNNI cannot use it.
        reference: of :func:`reference_of`, where several artifacts are made of one run; None = it is made for this one.
        out: the artifact folder; default ``RUN/export/TARGET-PRECISION``. An artifact that is there is replaced
            once the new one is whole.
        say: called with a line of news.

    Returns:
        The artifact folder.

    Raises:
        UsageError: unknown target, precision or dtype, a package is missing (says what to install), the target cannot
            take a batch of any size, this processor has no VNNI and ``reduce_range`` is False, ``out`` holds something
            else than an artifact, or the run's data is gone.
        MlkdcError: merging or exporting failed (nothing is written), or the artifact's answers are out of
            tolerance (it is kept, marked as failed).
    """
    spec = load_target(target)
    precision = precision or next(iter(spec.precisions))
    tolerance = _tolerance(spec, precision, run, max_drop, max_class_drop)
    equalize = equalize or run.recipe.export.equalize
    reduced = spec.reduce_range and (run.recipe.export.reduce_range if reduce_range is None else reduce_range)
    request = Request(run, spec, precision, tolerance, dynamic, input_dtype, equalize, reduced, reference, say)
    _check(request)
    folder = out or run.path / "export" / f"{target}-{precision}"
    _check_replaceable(folder)
    manifest = _write(request, folder)
    if manifest.status != "failed":
        return folder
    failure = f"{folder} does not answer like the torch model and is marked as failed: {manifest.parity['reason']}"
    if precision == "int8" and reduced:
        failure += "; for Arm, or x86 with VNNI, --no-reduce-range may lose less"
    if precision != "int8" or "fp16" not in spec.precisions:
        raise MlkdcError(failure + ("; ship fp32" if precision == "int8" else ""))
    say(f"{failure}; fp16 instead")
    return export_run(
        run,
        target,
        precision="fp16",
        dynamic=dynamic,
        input_dtype=input_dtype,
        max_drop=max_drop,
        max_class_drop=max_class_drop,
        reference=reference,
        out=out and out.with_name(f"{out.name}-fp16"),
        say=say,
    )


def reference_of(run: Run) -> Reference:
    """The answers of a run's torch model, with which each of its artifacts is compared; takes most of an export's time.

    Raises:
        UsageError: the run's data is gone, or a picture of it cannot be read.
    """
    return make_reference(run.model(), run.data(), run.recipe.data.train_splits)


def _tolerance(
    spec: Target, precision: str, run: Run, max_drop: float | None, max_class_drop: float | None
) -> Tolerance:
    own = run.recipe.export
    if precision == "int8":
        max_drop = own.max_drop if max_drop is None else max_drop
        max_class_drop = own.max_class_drop if max_class_drop is None else max_class_drop
    given = {"map": max_drop, "class_ap": max_class_drop}
    return spec.tolerance(precision).model_copy(update={key: v for key, v in given.items() if v is not None})


def _check(request: Request) -> None:
    """What is asked for that the target, or this machine, cannot do."""
    target, dtype = request.target, request.input_dtype
    if dtype not in INPUT_DTYPES:
        raise UsageError(f"unknown input type {dtype!r}; {nearest(dtype, INPUT_DTYPES)}")
    if dtype not in target.dtypes:
        known = " or ".join(target.dtypes)
        raise UsageError(f"target {target.name} takes pixels as {known} only, got {dtype}; leave out --uint8")
    if request.dynamic and not target.dynamic:
        raise UsageError(f"target {target.name} takes one picture at a time; leave out --dynamic, or export to onnx")
    target.check_range(request.precision, request.reduce_range)
    target.check_installed()


def _check_replaceable(folder: Path) -> None:
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not empty and not is_artifact(folder):
        raise UsageError(f"{folder} is not an artifact and is not replaced; name another folder with --out")


def _write(request: Request, folder: Path) -> Manifest:
    """Build, compare and put in place, whatever the comparison says."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # A folder in a folder: artifacts of a run are looked for one level deep, so that what an export that was
        # killed leaves behind is never taken for one.
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
            scratch = Path(name)
            builder = Builder(request, scratch)
            manifest = builder.quantized() if request.precision == "int8" else builder.build(None)
            _put(builder.folder, folder, scratch / "replaced")
    except OSError as error:
        raise MlkdcError(f"could not write {folder}: {error.strerror or error}; nothing there was changed") from error
    return manifest


def _put(made: Path, folder: Path, aside: Path) -> None:
    """Move ``made`` to ``folder``; what was there goes aside, and back if that fails."""
    replaced = folder.exists()
    if replaced:
        folder.rename(aside)
    try:
        made.rename(folder)
    except OSError:
        if replaced:
            aside.rename(folder)
        raise


def _built(job: Job) -> Built:
    """What the exporter wrote; whatever the libraries below raise, one sentence of ours."""
    target = job.target
    try:
        return EXPORTERS.get(target.format)(job)
    except (MlkdcError, MemoryError):
        raise
    except ImportError as error:
        raise UsageError(f"target {target.name}: {first_line(error)}; to install it anew: {target.install}") from error
    except Exception as error:  # torch, and seven converters, each raise their own
        raise MlkdcError(
            f"could not export to {target.name} ({type(error).__name__}: {first_line(error)}); "
            "try another precision or target, and report this"
        ) from error


class Builder:
    """Makes artifacts of one request, one after another, in ``scratch/artifact``."""

    def __init__(self, request: Request, scratch: Path) -> None:
        self.request, self.scratch = request, scratch
        self.folder = scratch / "artifact"
        self.data = request.run.data()
        self.model = request.run.model()
        self.size = self.model.preprocess.size
        self.merged, self.report = merge(self.model, self.size)

    @cached_property
    def reference(self) -> Reference:
        """The torch model's answers, once for all steps."""
        splits = self.request.run.recipe.data.train_splits
        return self.request.reference or make_reference(self.model, self.data, splits)

    def build(self, quantization: Quantization | None) -> Manifest:
        """Export, compare, and write the manifest; what was in the folder before is gone."""
        request = self.request
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        model = self.merged
        if quantization and quantization.correct:
            model = copy.deepcopy(model)
            correct_biases(model, quantization.images[:MEASURED_IMAGES], quantization)
        job = Job(
            model,
            self.folder,
            request.target,
            request.precision,
            (1, 3, self.size, self.size),
            request.input_dtype,
            request.dynamic,
            len(request.run.classes),
            quantization,
        )
        built = _built(job)
        manifest = describe(request.run, job, self.report, self.model.preprocess, built)
        manifest.save(self.folder)
        manifest.parity, manifest.status = self._compare(manifest)
        manifest.save(self.folder)
        return manifest

    def _compare(self, manifest: Manifest) -> tuple[dict[str, Any], Any]:
        """``parity`` and ``status``; where the runtime cannot run here, of the runtime that stands in for it."""
        target, why = self.request.target, RUNTIMES.get(manifest.runtime).cannot_run()
        if why and not target.proxy:
            return {"passed": None, "reason": f"not compared: {manifest.runtime} {why}"}, "unverified"
        asked = self.folder
        if why and target.proxy:
            asked = self.scratch / "proxy"
            shutil.rmtree(asked, ignore_errors=True)
            shutil.copytree(self.folder, asked)
            replace(manifest, runtime=target.proxy, details={**manifest.details, "proxy": True}).save(asked)
        answers = ask(asked, self.reference.pixels, self.scratch)
        parity = compare(self.reference, answers, np.array(manifest.thresholds), self.request.tolerance)
        parity["by"] = target.proxy if why else manifest.runtime
        if not why or not parity["passed"]:
            return parity, "ok" if parity["passed"] else "failed"
        note = f"{manifest.runtime} {why}: {target.proxy} was asked instead, with the graph it is built from"
        return {**parity, "reason": note}, "unverified"

    def quantized(self) -> Manifest:
        """The first step of the ladder that holds, else the one that lost least."""
        request, images = self.request, self.calibration(self.request.run.recipe.export.calibration)
        if request.equalize:
            pairs = even_out(self.merged, torch.from_numpy(images[:1]).float())
            request.say(f"  equalized {pairs} pairs of layers")
        tried: list[Quantization] = []
        manifests: list[Manifest] = []

        def build(how: Quantization) -> dict[str, Any]:
            tried.append(how)
            manifests.append(self.build(how))
            return manifests[-1].parity

        how, steps = climb(
            Climb(
                Quantization(images, reduce_range=request.reduce_range),
                weighted_modules(self.merged, torch.from_numpy(images[:1]).float()),
                lambda: sensitivity(self.merged, images[:MEASURED_IMAGES], per_channel=True),
                build,
                request.say,
            )
        )
        # The ladder's last attempt is in the folder, which need not be the one that lost least.
        manifest = manifests[-1] if how is tried[-1] else self.build(how)
        calibration = {"images": len(images), "split": "train", "seed": CALIBRATION_SEED}
        manifest.quantization = {"calibration": calibration, "equalize": request.equalize, "steps": steps}
        manifest.save(self.folder)
        return manifest

    def calibration(self, count: int) -> np.ndarray:
        """``uint8[n, 3, s, s]``: pictures of the training split, the same for every export of this run.

        Raises:
            UsageError: there is no training picture.
        """
        if "train" not in self.data.splits:
            raise UsageError(f"{self.data.root} has no training image to calibrate int8 on; export another precision")
        samples = self.data.split("train")
        chosen = np.random.default_rng(CALIBRATION_SEED).permutation(len(samples))[:count]
        return pixels_of(ImageStore([samples[index] for index in sorted(chosen)], self.size))
