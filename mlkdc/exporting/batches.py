"""A model that takes any number of images must answer each as if it were alone."""

import math
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mlkdc.exporting.parity import answers_of
from mlkdc.records.manifest import Manifest, describe_files
from mlkdc.records.parity import BatchCheck, Parity
from mlkdc.runtime.backends.openvino import load_openvino, reason
from mlkdc.runtime.model import BATCH
from mlkdc.runtime.quiet import quiet
from mlkdc.runtime.session import spec_of

# The last is a session's. Some faults show in the images of a batch that are more than there are classes.
SIZES = (3, 8, BATCH)
# Divisible by no size, so that the last batch is a smaller one.
IMAGES = BATCH + 3
# Between batches of different sizes float32 rounds in another order, and int8 rounds that to another step.
ALLOWED = {"fp32": 1e-4, "fp16": 0.01, "int8": 0.05}


def check_batches(parity: Parity, folder: Path, manifest: Manifest, pixels: np.ndarray, scratch: Path) -> Parity:
    """The comparison with what batches of several sizes give; not passed where an image's answer depends on others.

    An ONNX file is read by other runtimes too, and OpenVINO, where it is installed, is asked as well: it has its own
    ways to run a batch. That it cannot read the file is no fault of the export, and only noted.

    Args:
        parity: of the answers as a session gives them.
        folder: of an artifact that takes any number of images at once.
        manifest: of that folder.
        pixels: ``uint8[n, 3, s, s]``, of which the first are used, and shifted copies where there are few.
        scratch: a folder for the other runtime's file.
    """
    shifted = [np.roll(pixels, turn, axis=-1) for turn in range(math.ceil(IMAGES / len(pixels)))]
    pixels = np.concatenate(shifted)[:IMAGES]
    checks, note = _checks(folder, manifest, pixels), None
    if manifest.target == "onnx" and find_spec("openvino"):
        other = scratch / "openvino"
        try:
            as_openvino = _converted(folder, manifest, other)
            checks += _checks(other, as_openvino, pixels)
        except Exception as error:  # OpenVINO's exceptions share no base class but this one
            note = f"OpenVINO could not read the file: {reason(error)}"
    comparison = parity.comparison
    if comparison is not None:
        comparison = comparison.model_copy(update={"batches": tuple(checks), "note": note})
    fault = _fault(checks, ALLOWED[manifest.precision])
    if fault is not None and parity.reason is not None:
        fault = f"{parity.reason}; {fault}"
    return Parity(passed=bool(parity.passed and fault is None), reason=fault or parity.reason, comparison=comparison)


def _checks(folder: Path, manifest: Manifest, pixels: np.ndarray) -> list[BatchCheck]:
    single = answers_of(folder, pixels, batch=1)
    checks = []
    for size in SIZES:
        difference = np.abs(answers_of(folder, pixels, batch=size) - single).max()
        checks.append(
            BatchCheck(
                runtime=manifest.runtime,
                batch=size,
                images=len(pixels),
                max_difference_from_single=float(np.nan_to_num(difference, nan=1.0)),
            )
        )
    return checks


def _fault(checks: list[BatchCheck], allowed: float) -> str | None:
    wrong = [check for check in checks if check.max_difference_from_single > allowed]
    if not wrong:
        return None
    worst = max(wrong, key=lambda check: check.max_difference_from_single)
    return (
        f"in batches of {worst.batch} {worst.runtime} answers differ by up to {worst.max_difference_from_single:.2g} "
        "from those to single images (a batch of 1), so images of a batch are mixed up; export without --dynamic, "
        "which takes one image at a time"
    )


def _converted(folder: Path, manifest: Manifest, destination: Path) -> Manifest:
    """The ONNX artifact's graph in OpenVINO's own format, as an artifact."""
    shutil.rmtree(destination, ignore_errors=True)
    destination.mkdir()
    openvino = load_openvino()
    with quiet():
        model = openvino.convert_model(spec_of(manifest).only_file(folder, ".onnx"))
        openvino.save_model(model, destination / "model.xml", compress_to_fp16=False)
    files = describe_files(destination, ["model.xml", "model.bin"])
    converted = manifest.model_copy(update={"runtime": "openvino", "files": files})
    converted.save(destination)
    return converted
