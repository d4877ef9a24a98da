"""Makes an int8 artifact: calibrated, and quantized with other settings until it answers like the torch model."""

import platform
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from mlkdc.exporting.builder import MEASURED_IMAGES, Builder
from mlkdc.exporting.int8.equalize import equalize
from mlkdc.exporting.int8.finetune import check, fine_tune, terms_left_out
from mlkdc.exporting.int8.guard import Climbed, Ladder, climb
from mlkdc.exporting.int8.promise import promise
from mlkdc.exporting.int8.sensitivity import sensitivity, weighted_modules
from mlkdc.exporting.int8.simulate import Simulation
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.parity import map_percent
from mlkdc.exporting.stranger import Judgement
from mlkdc.records.manifest import Manifest
from mlkdc.records.parity import FineTuning, QuantizationReport
from mlkdc.runtime.system import vnni
from mlkdc.runtime.targets import Target

ARM = ("aarch64", "arm64")
# Enough to rank layers by, for which each layer takes a pass over them.
RANKED_IMAGES = 16
# For which these numbers of images were found to be enough.
USUAL_SIZE = 96
BATCH = 64


@dataclass(frozen=True)
class _Built:
    """An attempt's settings, its folder and its manifest."""

    how: Quantization
    folder: Path
    manifest: Manifest


def simulated_images(usual: int, size: int) -> int:
    """How many images of that size are enough for a simulation where ``usual`` of 96 px are.

    A larger image has more positions for the same means and ranges, and takes as much longer: as many pixels in all,
    but at least a quarter of the images, since another image is more than other positions.
    """
    return min(usual, max(usual // 4, round(usual * (USUAL_SIZE / size) ** 2)))


def half_range(images: np.ndarray, target: Target) -> Quantization:
    """Settings with half of the range for weights, as that target's quantizer halves it."""
    steps = target.half_range_steps
    depthwise = steps if target.half_range_depthwise else 127
    return Quantization(images, reduce_range=True, weight_steps=steps, depthwise_steps=depthwise)


class Quantizer:
    """Makes the int8 artifact of a builder's request.

    Args:
        builder: of an int8 request; its merged model is equalized in place where the request says so, or says nothing
            and branches were merged.
    """

    def __init__(self, builder: Builder) -> None:
        self.builder, self.request, self.say = builder, builder.request, builder.say
        if self.request.qat_epochs:
            check(self.request.run, self.request.data)
        self.images, self.calibration = builder.images.calibration(self.request.run.recipe.export.calibration)
        # Merging branches leaves few large weights among small ones, which set the scale of all.
        by_default = builder.report.branches > 0
        self.equalizes = by_default if self.request.equalize is None else self.request.equalize
        if self.equalizes:
            image = torch.from_numpy(self.images[:1]).float()
            self.say(f"  equalized {equalize(builder.merged, image)} pairs of layers")
        self.built: list[_Built] = []

    def make(self) -> tuple[Path, Manifest]:
        """The step that the ladder chooses: its folder, and its manifest with what can be promised of it."""
        if self.request.reduce_range and (vnni() or platform.machine().lower() in ARM):
            self.say(
                "  int8: this processor takes the whole range of weights, with which less is lost; where all devices "
                "are Arm, or x86 with VNNI: --no-reduce-range"
            )
        climbed = climb(self.ladder())
        # The very files that were compared, whichever attempt made them.
        chosen = next(built for built in self.built if built.how is climbed.how)
        manifest = chosen.manifest.quantized(self._report(climbed))
        manifest.save(chosen.folder)
        return chosen.folder, manifest

    def ladder(self) -> Ladder:
        """What the guard needs of the model."""
        images, model = self.images, self.builder.merged
        ranked = simulated_images(RANKED_IMAGES, self.builder.size)
        return Ladder(
            first=self._first(),
            modules=weighted_modules(model, torch.from_numpy(images[:1]).float()),
            sensitivity=lambda: sensitivity(model, images[:ranked], per_channel=True),
            simulate=lambda how: self._simulation.change(how),
            build=self._build,
            say=self.say,
            fast=self.request.fast,
            fine_tune=self._fine_tune if self.request.qat_epochs else None,
        )

    @cached_property
    def _simulation(self) -> Simulation:
        images, count = self.images, simulated_images(MEASURED_IMAGES, self.builder.size)
        # Not those that biases are corrected on, where there are enough others.
        unseen = images[count : 2 * count] if len(images) >= 2 * count else images[-count:]
        return Simulation(self.builder.merged, unseen, images[:count])

    def _fine_tune(self) -> None:
        how = self._first()
        self.builder.tuned = fine_tune(self.builder, how, self.request.qat_epochs)

    def _build(self, how: Quantization) -> Judgement:
        folder, manifest = self.builder.build(how)
        self.built.append(_Built(how, folder, manifest))
        return Judgement(manifest.parity, self.builder.answers)

    def _report(self, climbed: Climbed) -> QuantizationReport:
        reference = self.builder.reference
        return QuantizationReport(
            calibration=self.calibration,
            equalize=self.equalizes,
            steps=climbed.steps,
            chosen=climbed.chosen,
            promise=promise(reference, climbed.answered, thresholds_of(self.builder), self.request.tolerance),
            fine_tuning=self._fine_tuning() if climbed.how.fine_tuned else None,
        )

    def _fine_tuning(self) -> FineTuning:
        model, reference = self.builder.tuned, self.builder.reference
        assert model is not None
        with torch.inference_mode():
            batches = torch.split(torch.from_numpy(reference.pixels), BATCH)
            probabilities = torch.cat([model(batch) for batch in batches]).numpy()
        return FineTuning(
            epochs=self.request.qat_epochs,
            without=terms_left_out(self.request.run.recipe),
            map_percent=map_percent(reference.targets, probabilities),
            images=len(reference.targets),
            split=reference.split,
        )

    def _first(self) -> Quantization:
        """The ladder's first settings."""
        if self.request.reduce_range:
            return half_range(self.images, self.request.target)
        return Quantization(self.images)


def thresholds_of(builder: Builder) -> np.ndarray:
    """``float[q]`` of the run, in the order of the reference's labels."""
    run = builder.request.run
    of_class = dict(zip(run.classes, run.results.thresholds, strict=True))
    return np.array([of_class[name] for name in builder.reference.classes])
