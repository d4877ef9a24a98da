"""A run becomes an artifact folder: merged, exported, compared, and put in place only when it is complete."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlkdc.errors import MlkdcError
from mlkdc.exporting.builder import Builder
from mlkdc.exporting.int8.quantizer import Quantizer
from mlkdc.exporting.place import put_in_place, workplace
from mlkdc.exporting.readme import write_readme
from mlkdc.exporting.reference import Reference
from mlkdc.exporting.request import ExportOptions, Request, make_request
from mlkdc.records.manifest import Dtype, Manifest
from mlkdc.records.run import Run

Say = Callable[[str], None]


def export(
    run: Run,
    target: str,
    *,
    precision: str | None = None,
    dynamic: bool = False,
    input_dtype: Dtype = "float32",
    max_drop: float | None = None,
    max_class_drop: float | None = None,
    equalize: bool | None = None,
    reduce_range: bool | None = None,
    data: str | None = None,
    opset: int | None = None,
    fast: bool = False,
    qat_epochs: int | None = None,
    skip_parity: bool = False,
    out: Path | None = None,
    say: Say = lambda text: None,
) -> Path:
    """Merge a run's model, export it, compare it with the original on real images; returns the artifact folder.

    An int8 export that loses too much climbs the ladder of :func:`mlkdc.exporting.int8.guard.climb`; where no step
    holds, an fp16 artifact is made next to it if the target has that precision.

    Args:
        run: finished.
        max_drop, max_class_drop: allowed drop of mAP and of the worst class's AP, in percentage points.
        say: called with a line of news. The others are those of :class:`~mlkdc.exporting.request.ExportOptions`.

    Raises:
        UsageError: as :func:`~mlkdc.exporting.request.make_request`, or the run's data is missing.
        MlkdcError: the export failed (nothing is written), or is out of tolerance (it is kept, marked as failed).

    Example:
        >>> from pathlib import Path
        >>> from mlkdc import export, load_run
        >>> artifact = export(load_run("runs/photos"), "onnx", dynamic=True, out=Path("exported/any-batch"))
        >>> sorted(path.name for path in artifact.iterdir())
        ['README.md', 'manifest.json', 'model.onnx']
    """
    options = ExportOptions(
        target=target,
        precision=precision,
        dynamic=dynamic,
        input_dtype=input_dtype,
        max_map_drop_points=max_drop,
        max_class_drop_points=max_class_drop,
        equalize=equalize,
        reduce_range=reduce_range,
        data=data,
        opset=opset,
        fast=fast,
        qat_epochs=qat_epochs,
        skip_parity=skip_parity,
        out=out,
    )
    return export_artifact(run, options, say=say)


def export_artifact(run: Run, options: ExportOptions, *, reference: Reference | None = None, say: Say) -> Path:
    """As :func:`export`.

    Args:
        run: finished.
        options: what to export.
        reference: of :func:`~mlkdc.exporting.known.reference_of`, where several artifacts are made of one run;
            None = it is made for this one.
        say: called with a line of news.
    """
    request = make_request(run, options)
    manifest, reference = _write(request, reference, say)
    if manifest.status != "failed":
        return request.folder
    failure = _failure(request, manifest)
    if request.precision != "int8":
        raise MlkdcError(failure)
    if "fp16" not in request.target.precisions:
        raise MlkdcError(f"{failure}; ship fp32")
    say(f"{failure}; exporting fp16 instead")
    out = options.out
    if out is not None:
        out = request.folder.with_name(f"{request.folder.name}-fp16")
    return export_artifact(run, replace(options, precision="fp16", out=out), reference=reference, say=say)


def _failure(request: Request, manifest: Manifest) -> str:
    text = f"{request.folder} differs from the torch model and is marked as failed: {manifest.parity.reason}"
    if request.precision == "int8" and request.reduce_range:
        text += "; for Arm, or x86 with VNNI, --no-reduce-range may lose less"
    return text


def _write(request: Request, reference: Reference | None, say: Say) -> tuple[Manifest, Reference | None]:
    """Build, compare and put in place, whatever the comparison says; the answers it was compared with, too."""
    folder = request.folder
    try:
        with workplace(folder) as scratch:
            builder = Builder(request, scratch, reference=reference, say=say)
            if request.precision == "int8":
                made, manifest = Quantizer(builder).make()
            else:
                made, manifest = builder.build(None)
            write_readme(made, manifest)
            put_in_place(made, folder, scratch)
    except OSError as error:
        raise MlkdcError(f"could not write {folder}: {error.strerror or error}; nothing there was changed") from error
    return manifest, builder.used_reference
