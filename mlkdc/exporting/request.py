"""What to export: options as a user gives them, and the request that follows from them once they are checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from mlkdc.data.runs import is_gone, missing_path
from mlkdc.errors import SHOWN_NAMES, UsageError, nearest
from mlkdc.exporting.readme import README
from mlkdc.figures import first_few
from mlkdc.records.base import faults, read_mapping
from mlkdc.records.manifest import Dtype, Manifest, is_artifact
from mlkdc.records.parity import Tolerance
from mlkdc.records.run import ANSWERS_FILE, CALIBRATION_FILE, EXPORT_FOLDER, Run
from mlkdc.runtime.targets import Target, load_target, target_names

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How to export a run. None = as the run's recipe says, else as the target says.

    Args:
        target: name of a shipped target.
        precision: one of the target's; None = its first.
        dynamic: any batch size instead of 1.
        input_dtype: of the pixels, RGB in 0..255 both.
        max_map_drop_points: allowed drop of mAP, in percentage points.
        max_class_drop_points: allowed drop of the worst class's AP, in percentage points.
        equalize: even out channels over layers before int8 (:func:`mlkdc.exporting.int8.equalize.equalize`); where the
            recipe says nothing either, where branches were merged.
        reduce_range: for targets that do so, keep int8 weights to half of their range. With the full range an artifact
            answers better, and x86 processors without VNNI cannot use it.
        fast: give int8 up where only keeping the most sensitive layers in float could save it.
        qat_epochs: where no step of int8 holds its limits, let the run's training go on for so many epochs with int8's
            rounding in it; 0 = do not.
        data: where the run's images are now; None = where they were.
        opset: of ONNX, for targets that have one; None = the target's.
        skip_parity: need no images, and mark the artifact as unverified; not for int8, which is calibrated on images.
        out: the artifact folder; None = ``RUN/export/TARGET-PRECISION``. An artifact that is there is replaced once the
            new one is complete.
    """

    target: str
    precision: str | None = None
    dynamic: bool = False
    input_dtype: Dtype = "float32"
    max_map_drop_points: float | None = None
    max_class_drop_points: float | None = None
    equalize: bool | None = None
    reduce_range: bool | None = None
    fast: bool = False
    qat_epochs: int | None = None
    data: str | None = None
    opset: int | None = None
    skip_parity: bool = False
    out: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """A checked export: nothing is left open, and this machine can make it. See :class:`ExportOptions`."""

    run: Run
    target: Target
    precision: str
    tolerance: Tolerance
    dynamic: bool
    input_dtype: Dtype
    equalize: bool | None
    reduce_range: bool
    fast: bool
    qat_epochs: int
    data: str | None
    skip_parity: bool
    folder: Path


def make_request(run: Run, options: ExportOptions) -> Request:
    """Fill in what the options leave open, and check that it can be exported here.

    Raises:
        UsageError: unknown target, precision or dtype, a drop that is no percentage, no images to compare on, a package
            is missing (says what to install), the target cannot take a batch of any size, this processor has no VNNI
            and the full range was chosen, or the folder holds something else than an artifact.
    """
    target = _with_opset(load_target(options.target), options.opset)
    precision = options.precision or target.default_precision
    reduce_range = options.reduce_range
    if reduce_range is None:
        reduce_range = run.recipe.export.reduce_range
    request = Request(
        run=run,
        target=target,
        precision=precision,
        tolerance=_tolerance(run, target, precision, options),
        dynamic=options.dynamic,
        input_dtype=options.input_dtype,
        equalize=run.recipe.export.equalize if options.equalize is None else options.equalize,
        reduce_range=target.reduce_range and reduce_range,
        fast=options.fast,
        qat_epochs=_qat_epochs(run, options, precision),
        data=options.data,
        skip_parity=options.skip_parity,
        folder=_named(options.out) if options.out else run.path / EXPORT_FOLDER / f"{target.name}-{precision}",
    )
    _check_input(request)
    check_images(run, options)
    _check_calibration(request)
    target.check_range(precision, request.reduce_range)
    target.check_installed()
    _check_replaceable(request.folder)
    return request


def _named(folder: Path) -> Path:
    """The folder by its own name, where it was called ``.`` or ``..``: what is made lies next to it meanwhile."""
    return folder.resolve() if folder.name in ("", "..") else folder


def check_images(run: Run, options: ExportOptions) -> None:
    """Check that there can be images to compare an export on; opens none.

    Raises:
        UsageError: neither the run's data nor images that its folder keeps are there.
    """
    if options.skip_parity:
        return
    if options.data is not None:
        if not Path(options.data).expanduser().exists():
            raise UsageError(f"--data {options.data}: no such file or folder; expected the images of {run.path}")
        return
    if is_gone(run) and not (run.path / ANSWERS_FILE).is_file():
        raise UsageError(
            f"{missing_path(run.recipe)}, the data of {run.path}, is not there, and the folder keeps no images to "
            f"compare on (no {ANSWERS_FILE}; export.keep_images): if it has moved, say where it is: --data PATH; or "
            "export an artifact that is marked as unverified: --skip-parity"
        )


def _check_calibration(request: Request) -> None:
    """Check that there can be images to calibrate int8 on; opens none."""
    run = request.run
    if request.precision != "int8" or request.data is not None or not is_gone(run):
        return
    for name in (ANSWERS_FILE, CALIBRATION_FILE):
        if not (run.path / name).is_file():
            raise UsageError(
                f"{missing_path(run.recipe)}, the data of {run.path}, is not there, and the folder keeps no images to "
                f"calibrate int8 on (no {name}): copy the complete run folder; if the data has moved, say where it is: "
                "--data PATH; or export another precision"
            )


def _qat_epochs(run: Run, options: ExportOptions, precision: str) -> int:
    """As the options say, else the recipe; none but for int8, where alone weights are rounded so much."""
    if precision != "int8":
        return 0
    if options.qat_epochs is not None:
        return options.qat_epochs
    return run.recipe.export.qat_epochs


def _with_opset(target: Target, opset: int | None) -> Target:
    if opset is None:
        return target
    if target.opset is None:
        raise UsageError(f"target {target.name} has no ONNX opset to choose; omit --opset")
    return target.model_copy(update={"opset": opset})


def _tolerance(run: Run, target: Target, precision: str, options: ExportOptions) -> Tolerance:
    """The target's, but for the drops that the options or the recipe allow."""
    map_drop, class_drop = options.max_map_drop_points, options.max_class_drop_points
    if precision == "int8":  # the only precision that a recipe allows a loss for
        if map_drop is None:
            map_drop = run.recipe.export.max_drop
        if class_drop is None:
            class_drop = run.recipe.export.max_class_drop
    allowed = {}
    if map_drop is not None:
        allowed["map_drop_points"] = map_drop
    if class_drop is not None:
        allowed["class_drop_points"] = class_drop
    try:
        # Not model_copy, which takes any value: an artifact with such limits could not be read.
        return Tolerance.model_validate({**target.tolerance(precision).model_dump(), **allowed})
    except ValidationError as error:
        raise UsageError(
            f"expected 0 to 100 percentage points as the allowed drops of mAP and of a class's AP: {faults(error)}"
        ) from None


def _check_input(request: Request) -> None:
    """Raise UsageError where the target cannot take such pixels, or so many images, or needs those left out."""
    target, dtype = request.target, request.input_dtype
    if request.skip_parity and request.precision == "int8":
        raise UsageError(
            f"{target.name}-int8 is calibrated on the run's images and chosen by how it answers them, which "
            "--skip-parity leaves out; omit it (if the images have moved: --data PATH), or export another precision"
        )
    dtypes = get_args(Dtype)
    if dtype not in dtypes:
        raise UsageError(f"unknown input type {dtype!r}; {nearest(dtype, dtypes)}")
    if dtype not in target.dtypes:
        accepted = " or ".join(target.dtypes)
        raise UsageError(f"target {target.name} takes pixels as {accepted} only, got {dtype}; omit --uint8")
    if request.dynamic and not target.dynamic:
        raise UsageError(f"target {target.name} takes one image at a time; omit --dynamic, or export to onnx")


def choices(targets: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str]]:
    """(target, precision) pairs.

    Args:
        targets: names, or ``all``.
        precisions: of each target; none = its first; ``all`` = all it has. Where there are several targets, those that
            do not have a precision are skipped for it.

    Raises:
        UsageError: an unknown target, or a precision that none of them has.
    """
    names = list(dict.fromkeys(targets))
    if ALL in targets:
        names = target_names()
    specs = [load_target(name) for name in names]
    named = [precision for precision in dict.fromkeys(precisions) if precision != ALL]
    for precision in named:
        _check_precision(specs, precision)
    pairs = []
    for spec in specs:
        for precision in _precisions(spec, named, every=ALL in precisions):
            pairs.append((spec.name, precision))
    return pairs


def _check_precision(specs: Sequence[Target], precision: str) -> None:
    if len(specs) == 1:
        specs[0].tolerance(precision)  # raises with the names that it has
    elif not any(precision in spec.precisions for spec in specs):
        names = ", ".join(spec.name for spec in specs)
        raise UsageError(f"none of {names} has precision {precision!r}; see `mlkdc ls targets`")


def _precisions(spec: Target, named: Sequence[str], *, every: bool) -> list[str]:
    """Those of a target that were chosen: every one, the named ones that it has, or its default."""
    if every:
        return list(spec.precisions)
    if not named:
        return [spec.default_precision]
    return [precision for precision in named if precision in spec.precisions]


def _check_replaceable(folder: Path) -> None:
    """Raise UsageError where the folder holds something else than an artifact, or its name cannot be one."""
    try:
        if not folder.exists():
            return
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}; name another folder with --out") from None
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if not is_artifact(folder):
        raise UsageError(f"{folder} is not an artifact and is not replaced; name another folder with --out")
    strangers = _strangers(folder)
    if strangers:
        raise UsageError(
            f"{folder} holds {first_few(strangers, SHOWN_NAMES)}, which no export wrote and this one would "
            "remove: move it away, or name another folder with --out"
        )


def _strangers(folder: Path) -> list[str]:
    """Names in an artifact's folder that are not its files; without hidden ones, such as file managers leave."""
    files = read_mapping(folder / Manifest.FILE, "")["files"]
    written = {Manifest.FILE, README}
    if isinstance(files, dict):
        written.update(name.partition("/")[0] for name in files)
    return sorted(path.name for path in folder.iterdir() if path.name not in written and path.name[0] != ".")
