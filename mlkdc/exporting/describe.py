"""The manifest of an artifact, all but what comparing it will say."""

from datetime import datetime

from mlkdc.exporting.job import INPUT, OUTPUT, Built, Job
from mlkdc.records.manifest import (
    InputSpec,
    Manifest,
    MergeReport,
    OutputSpec,
    RuntimeDetails,
    describe_files,
)
from mlkdc.records.parity import Parity
from mlkdc.records.preparation import InsideNote, Preparation, Preprocess
from mlkdc.records.run import Run
from mlkdc.runtime.system import versions


def describe(run: Run, preprocess: Preprocess, job: Job, merged: MergeReport, built: Built) -> Manifest:
    """What was exported, from what, with which versions; not compared yet, and so unverified.

    Args:
        run: that the model is from.
        preprocess: how an image becomes its input.
        job: that was exported.
        merged: what was merged before.
        built: what the exporter wrote.
    """
    target, results = job.target, run.results
    return Manifest(
        name=run.recipe.name,
        target=target.name,
        runtime=target.runtime,
        precision=job.precision,
        files=describe_files(job.folder, built.files),
        classes=tuple(run.classes),
        thresholds=results.thresholds,
        preprocess=Preparation.of(preprocess, target.layout),
        inside=InsideNote(mean=preprocess.mean, std=preprocess.std),
        input=InputSpec(name=INPUT, shape=_input_shape(job), layout=target.layout, dtype=job.input_dtype),
        output=OutputSpec(name=OUTPUT, shape=(1, job.classes)),
        dynamic_batch=job.dynamic,
        recipe_hash=results.recipe_hash,
        versions=versions(("mlkdc", "torch", "torchvision", "timm", *target.distributions)),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        merge=merged,
        details=_details(job, built.details),
        parity=Parity(passed=None, reason="not compared yet"),
        status="unverified",
    )


def _input_shape(job: Job) -> tuple[int, int, int, int]:
    """In the target's layout."""
    batch, channels, height, width = job.input_shape
    if job.target.layout == "NHWC":
        return batch, height, width, channels
    return batch, channels, height, width


def _details(job: Job, details: RuntimeDetails) -> RuntimeDetails:
    """The exporter's, with what the target and the quantization add."""
    reduce_range = None
    if job.quantization and job.target.reduce_range:
        reduce_range = job.quantization.reduce_range
    return details.model_copy(
        update={"reduce_range": reduce_range, "unverified_by_authors": job.target.unverified or None}
    )
