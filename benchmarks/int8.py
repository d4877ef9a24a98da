"""What int8 costs RepVGG, and which way of making it avoids the loss.

    OMP_NUM_THREADS=1 python benchmarks/int8.py RUN

RUN is a finished run of RepVGG, whose data is where it was. Each way is exported to
OpenVINO and to ONNX and compared with the torch model on validation images by mlkdc's parity check; the figures go
to benchmarks/results/int8.json.
"""

import argparse
import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from building import builder_of
from study import grow
from study_records import Int8Figures, Int8Row, Int8Study

from mlkdc.exporting import ExportOptions
from mlkdc.exporting.builder import Builder
from mlkdc.exporting.int8.equalize import equalize
from mlkdc.exporting.int8.quantizer import half_range
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.known import reference_of
from mlkdc.exporting.merging.model import ExportModel
from mlkdc.records.parity import Parity
from mlkdc.records.run import Run, load_run
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions, vnni

RESULTS = Path(__file__).parent / "results" / "int8.json"
TARGETS = ("openvino", "onnx")
PACKAGES = ("mlkdc", "torch", "openvino", "nncf", "onnxruntime")


def unmerged(builder: Builder) -> ExportModel:
    """The model as it was trained, three branches to a block."""
    model = copy.deepcopy(builder.model).eval()
    return ExportModel(model.backbone, builder.merged.head, model.mean, 1 / model.std.flatten()).eval()


def ways(builder: Builder, images: np.ndarray) -> Iterator[tuple[str, str, Quantization]]:
    """(weights, ranges, how): the builder's model is set to the one that is to be quantized.

    Weights take the full int8 range, and half of it in a separate row; only half where the processor has no VNNI.

    Args:
        builder: for int8.
        images: to calibrate on, ``uint8[n, 3, s, s]``.
    """
    reduced = vnni() is False
    merged = builder.merged
    # A copy, since channels are equalized in place.
    equalized = copy.deepcopy(merged)
    equalize(equalized, torch.from_numpy(images[:1]).float())
    models = {"not merged": unmerged(builder), "merged": merged, "merged and equalized": equalized}
    for weights, model in models.items():
        # The builder exports what it holds as merged, whatever that is.
        builder.merged = model
        halved = half_range(images, builder.request.target)
        plain = halved if reduced else Quantization(images)
        yield weights, "one scale per layer", replace(plain, per_channel=False)
        yield weights, "one scale per channel", plain
        if not reduced:
            yield weights, "one scale per channel, half of the weights' range", halved
        if weights != "not merged":
            yield weights, "one scale per channel, clipped", replace(plain, clip=True)
            yield weights, "one scale per channel, biases corrected", replace(plain, correct_biases=True)


def measure(run: Run) -> Iterator[Int8Row]:
    """One row for each target and way."""
    # Once for all: the same answers are compared with every artifact.
    reference = reference_of(run, print)
    for name in TARGETS:
        with builder_of(run, ExportOptions(target=name, precision="int8"), reference) as builder:
            images, _ = builder.images.calibration(run.recipe.export.calibration)
            for weights, ranges, how in ways(builder, images):
                _, manifest = builder.build(how)
                yield int8_row(name, weights, ranges, len(images), manifest.parity)


def int8_row(target: str, weights: str, ranges: str, calibration_images: int, parity: Parity) -> Int8Row:
    """What the study keeps of a comparison."""
    comparison = parity.comparison
    assert comparison is not None, parity.reason
    figures = None
    if comparison.figures is not None:
        figures = Int8Figures.of(comparison.figures)
    return Int8Row(
        target=target,
        weights=weights,
        ranges=ranges,
        calibration_images=calibration_images,
        images=comparison.images,
        map_torch_percent=comparison.map_torch_percent,
        figures=figures,
    )


def main() -> None:
    """Measure all and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    folder = parser.parse_args().run
    run = load_run(folder)
    study = Int8Study(
        command="OMP_NUM_THREADS=1 python benchmarks/int8.py RUN",
        student=run.recipe.student.model,
        seed=run.recipe.seed,
        versions=versions(PACKAGES),
        machine=machine(),
    )
    grow(RESULTS, study, measure(run))


if __name__ == "__main__":
    main()
