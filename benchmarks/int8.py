"""What int8 costs RepVGG, and which way of making it avoids the loss.

    OMP_NUM_THREADS=1 python benchmarks/int8.py RUN

RUN is a finished run of RepVGG, such as benchmarks/targets.py leaves in runs/targets/repvgg_a0. Each way is exported to
OpenVINO and to ONNX and compared with the torch model on validation images by mlkdc's own parity check; the figures go
to benchmarks/results/int8.json.
"""

import argparse
import copy
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mlkdc.exporting.builder import Builder, Request, reference_of
from mlkdc.exporting.formats import Quantization
from mlkdc.exporting.int8.equalize import equalize
from mlkdc.exporting.merging.merge import ExportModel
from mlkdc.resources import write_json
from mlkdc.runtime.machine import machine, versions, vnni
from mlkdc.runtime.targets import load_target
from mlkdc.train import Run, load_run

RESULTS = Path(__file__).parent / "results" / "int8.json"
TARGETS = ("openvino", "onnx")
KEPT = ("images", "mAP_torch", "mAP_artifact", "mAP_drop", "worst_class", "worst_class_drop", "label_flips")


def unmerged(builder: Builder) -> ExportModel:
    """The model as it was trained, three branches to a block."""
    model = copy.deepcopy(builder.model).eval()
    return ExportModel(model.backbone, builder.merged.head, model.mean, 1 / model.std.flatten()).eval()


def ways(builder: Builder, images: Any) -> Iterator[tuple[str, str, Quantization]]:
    """(weights, ranges, how): the builder's model is set to the one that is to be quantized.

    Weights take the whole int8 range, and half of it beside; only half where the processor has no VNNI.
    """
    reduced = vnni() is False
    merged, image = builder.merged, torch.from_numpy(images[:1]).float()
    evened = copy.deepcopy(merged)
    equalize(evened, image)
    models = {"not merged": unmerged(builder), "merged": merged, "merged and equalized": evened}
    for weights, model in models.items():
        builder.merged = model
        plain = Quantization(images, reduce_range=reduced)
        yield weights, "one scale per layer", replace(plain, per_channel=False)
        yield weights, "one scale per channel", plain
        if not reduced:
            yield weights, "one scale per channel, half of the weights' range", replace(plain, reduce_range=True)
        if weights != "not merged":
            yield weights, "one scale per channel, clipped", replace(plain, clip=True)
            yield weights, "one scale per channel, biases corrected", replace(plain, correct=True)


def measure(run: Run) -> Iterator[dict[str, Any]]:
    """One row for each target and way; a model without finite answers has None for its figures."""
    reference = reference_of(run)
    for name in TARGETS:
        target = load_target(name)
        with tempfile.TemporaryDirectory() as scratch:
            request = Request(
                run, target, "int8", target.tolerance("int8"), False, "float32", False, False, reference, print
            )
            builder = Builder(request, Path(scratch))
            images = builder.calibration(run.recipe.export.calibration)
            for weights, ranges, how in ways(builder, images):
                parity = builder.build(how).parity
                row = {"target": name, "weights": weights, "ranges": ranges, "calibration": len(images)}
                yield row | {key: parity[key] for key in KEPT}


def main() -> None:
    """Measure all and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    folder = parser.parse_args().run
    run = load_run(folder)
    study: dict[str, Any] = {
        "format": 1,
        "command": f"OMP_NUM_THREADS=1 python benchmarks/int8.py {folder}",
        "student": run.recipe.student.model,
        "seed": run.recipe.seed,
        "versions": versions(("mlkdc", "torch", "openvino", "nncf", "onnxruntime")),
        "machine": machine(),
        "rows": [],
    }
    for row in measure(run):
        print(row, flush=True)
        study["rows"].append(row)
        write_json(RESULTS, study)


if __name__ == "__main__":
    main()
