"""The manifest of an artifact, all but what comparing it will say."""

from datetime import datetime

from mlkdc.exporting.formats import INPUT, OUTPUT, Built, Job
from mlkdc.exporting.merging.merge import MergeReport
from mlkdc.records.manifest import Manifest, Preprocess, describe_files
from mlkdc.records.run import Run
from mlkdc.runtime.machine import versions


def describe(run: Run, job: Job, report: MergeReport, preprocess: Preprocess, built: Built) -> Manifest:
    """What was exported, from what, with which versions; not compared yet, and so unverified."""
    target, (batch, channels, height, width) = job.target, job.input_shape
    shape = [batch, channels, height, width] if target.layout == "NCHW" else [batch, height, width, channels]
    reduced = {"reduce_range": job.quantization.reduce_range} if job.quantization and target.reduce_range else {}
    unverified = {"unverified_by_authors": target.unverified} if target.unverified else {}
    return Manifest(
        name=run.recipe.name,
        target=target.name,
        runtime=target.runtime,
        precision=job.precision,
        files=describe_files(job.folder, built.files),
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
        input={"name": INPUT, "shape": shape, "layout": target.layout, "dtype": job.input_dtype},
        output={"name": OUTPUT, "shape": [1, job.classes], "dtype": "float32"},
        dynamic_batch=job.dynamic,
        recipe_hash=run.results["recipe_hash"],
        versions=versions(("mlkdc", "torch", "torchvision", "timm", *target.distributions)),
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        merge=report.flat(),
        parity={},
        details={**built.details, **reduced, **unverified},
        quantization=None,
        status="unverified",
    )
