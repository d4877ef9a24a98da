"""Makes the artifacts of one request: exported, described, compared."""

import copy
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mlkdc.exporting.describe import describe
from mlkdc.exporting.formats import run_exporter
from mlkdc.exporting.identity import check_weights
from mlkdc.exporting.int8.bias import correct_biases
from mlkdc.exporting.int8.equalize import equalize
from mlkdc.exporting.int8.guard import Ladder, climb
from mlkdc.exporting.int8.sensitivity import sensitivity, weighted_modules
from mlkdc.exporting.int8.simulate import simulated_change
from mlkdc.exporting.job import INPUT, OUTPUT, Job, Quantization
from mlkdc.exporting.known import RunImages
from mlkdc.exporting.merging.merge import merge
from mlkdc.exporting.reference import Reference
from mlkdc.exporting.request import Request
from mlkdc.exporting.stranger import judge
from mlkdc.records.manifest import Manifest
from mlkdc.records.metadata import metadata
from mlkdc.records.parity import Parity, QuantizationReport
from mlkdc.records.preparation import Preparation
from mlkdc.runtime.base import RUNTIMES
from mlkdc.runtime.system import vnni
from mlkdc.runtime.targets import Target
from mlkdc.train import load_model

ARM = ("aarch64", "arm64")
# Enough to correct biases and to simulate, for which all of them are in memory with what flows between two layers.
MEASURED_IMAGES = 64
# Enough to rank layers by, for which each layer takes a pass over them.
RANKED_IMAGES = 16


def half_range(images: np.ndarray, target: Target) -> Quantization:
    """Settings with half of the range for weights, as that target's quantizer halves it."""
    steps = target.half_range_steps
    depthwise = steps if target.half_range_depthwise else 127
    return Quantization(images, reduce_range=True, weight_steps=steps, depthwise_steps=depthwise)


class Builder:
    """Makes artifacts of one request, one after another, in ``scratch/artifact``.

    Args:
        request: what to make.
        scratch: an empty folder.
        reference: the torch model's answers, where they are known already; None = they are made when needed.
        say: called with a line of news.
    """

    def __init__(
        self, request: Request, scratch: Path, *, reference: Reference | None = None, say: Callable[[str], None]
    ) -> None:
        self.request = request
        self.scratch = scratch
        self.folder = scratch / "artifact"
        self.say = say
        self.weights_sha256 = check_weights(request.run)
        self.model = load_model(request.run)
        self.size = self.model.preprocess.size
        self.merged, self.report = merge(self.model, self.size)
        self.used_reference = reference
        #: Not read where nothing is compared or calibrated.
        self.images = RunImages(request.run, self.model, say, request.data)

    @property
    def reference(self) -> Reference:
        """The torch model's answers, once for all steps."""
        if self.used_reference is None:
            self.used_reference = self.images.reference
        return self.used_reference

    def build(self, quantization: Quantization | None) -> Manifest:
        """Export, compare, and write the manifest; what was in the folder before is deleted."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        job = self._job(quantization)
        built = run_exporter(job)
        manifest = describe(self.request.run, self.model.preprocess, job, self.report, built)
        manifest = manifest.model_copy(update={"weights_sha256": self.weights_sha256})
        # The runtime reads the manifest too: it must be there before the artifact can be compared.
        manifest.save(self.folder)
        manifest = self._compared(manifest)
        manifest.save(self.folder)
        return manifest

    def _job(self, quantization: Quantization | None) -> Job:
        request, model = self.request, self.merged
        if quantization and quantization.correct_biases:
            model = copy.deepcopy(model)
            correct_biases(model, quantization.images[:MEASURED_IMAGES], quantization)
        return Job(
            model=model,
            folder=self.folder,
            target=request.target,
            precision=request.precision,
            input_shape=(1, 3, self.size, self.size),
            input_dtype=request.input_dtype,
            dynamic=request.dynamic,
            classes=len(request.run.classes),
            metadata=self._metadata(),
            quantization=quantization,
        )

    def _metadata(self) -> dict[str, str]:
        run, prepared = self.request.run, Preparation.of(self.model.preprocess, self.request.target.layout)
        return metadata(run.classes, run.results.thresholds, prepared, (INPUT, OUTPUT))

    def _compared(self, manifest: Manifest) -> Manifest:
        """With what the comparison says. Where the runtime cannot run, that is of the runtime that stands in for it."""
        if self.request.skip_parity:
            parity = Parity(passed=None, reason="not compared with the torch model: exported with --skip-parity")
            return manifest.compared(parity, "unverified")
        proxy, obstacle = self.request.target.proxy, RUNTIMES.get(manifest.runtime).cannot_run()
        if obstacle is None:
            return self._judged(manifest, self._parity(self.folder))
        if proxy is None:
            parity = Parity(passed=None, reason=f"not compared: {manifest.runtime} {obstacle}")
            return manifest.compared(parity, "unverified")
        folder = self.scratch / "proxy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        stand_in = manifest.for_proxy(proxy)
        stand_in.save(folder)
        parity = self._parity(folder)
        if not parity.passed:
            return self._judged(manifest, parity)
        note = f"{manifest.runtime} {obstacle}: compared through {proxy}, which ran the graph it is built from"
        return manifest.compared(parity.model_copy(update={"reason": note}), "unverified")

    def _parity(self, folder: Path) -> Parity:
        return judge(folder, self.reference, self.request.tolerance, self.scratch)

    def _judged(self, manifest: Manifest, parity: Parity) -> Manifest:
        return manifest.compared(parity, "ok" if parity.passed else "failed")

    def quantized(self) -> Manifest:
        """The first step of the ladder that holds, else the one that lost least."""
        images, calibration = self.images.calibration(self.request.run.recipe.export.calibration)
        image = torch.from_numpy(images[:1]).float()
        if self.request.equalize:
            self.say(f"  equalized {equalize(self.merged, image)} pairs of layers")
        built: list[tuple[Quantization, Manifest]] = []
        # Not those that biases are corrected on, where there are others.
        unseen = images[MEASURED_IMAGES:][:MEASURED_IMAGES] if len(images) > MEASURED_IMAGES else images

        def build(how: Quantization) -> Parity:
            built.append((how, self.build(how)))
            return built[-1][1].parity

        ladder = Ladder(
            first=self._first(images),
            modules=weighted_modules(self.merged, image),
            sensitivity=lambda: sensitivity(self.merged, images[:RANKED_IMAGES], per_channel=True),
            simulate=lambda how: simulated_change(self.merged, unseen, how, images[:MEASURED_IMAGES]),
            build=build,
            say=self.say,
            fast=self.request.fast,
        )
        how, steps = climb(ladder)
        in_folder, manifest = built[-1]
        # The ladder's last attempt need not be the one that lost least.
        if how is not in_folder:
            manifest = self.build(how)
        report = QuantizationReport(calibration=calibration, equalize=self.request.equalize, steps=steps)
        manifest = manifest.quantized(report)
        manifest.save(self.folder)
        return manifest

    def _first(self, images: np.ndarray) -> Quantization:
        """The ladder's first settings."""
        target, reduced = self.request.target, self.request.reduce_range
        if not reduced:
            return Quantization(images)
        if target.reduce_range and (vnni() or platform.machine().lower() in ARM):
            self.say(
                "  int8: this processor takes the whole range of weights, with which less is lost; where all devices "
                "are Arm, or x86 with VNNI: --no-reduce-range"
            )
        return half_range(images, target)
