"""Makes the artifacts of one request: exported, described, compared."""

import copy
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlkdc.exporting.converted import Converted
from mlkdc.exporting.describe import describe
from mlkdc.exporting.formats import run_exporter
from mlkdc.exporting.identity import scored_model
from mlkdc.exporting.int8.bias import correct_biases
from mlkdc.exporting.job import INPUT, OUTPUT, Job, Quantization
from mlkdc.exporting.known import RunImages
from mlkdc.exporting.merging.merge import merge
from mlkdc.exporting.merging.model import ExportModel
from mlkdc.exporting.reference import Reference
from mlkdc.exporting.request import Request
from mlkdc.exporting.stranger import judge
from mlkdc.records.manifest import Manifest
from mlkdc.records.metadata import metadata
from mlkdc.records.parity import Parity
from mlkdc.records.preparation import Preparation
from mlkdc.runtime.base import RUNTIMES

# Enough to correct biases and to simulate, for which all of them are in memory with what flows between two layers.
MEASURED_IMAGES = 64


class Builder:
    """Makes artifacts of one request, each in a folder of its own below ``scratch``.

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
        self._folders = (scratch / f"artifact-{number}" for number in itertools.count())
        self.say = say
        self.model, self.weights_sha256 = scored_model(request.run)
        self.size = self.model.preprocess.size
        self.merged, self.report = merge(self.model, self.size)
        # By quantization-aware fine-tuning, for settings that ask for it.
        self.tuned: ExportModel | None = None
        self.used_reference = reference
        #: Not read where nothing is compared or calibrated.
        self.images = RunImages(request.run, self.model, say, request.data)
        self._converted = Converted()
        # Of the artifact made last, where it was asked.
        self.answers: np.ndarray | None = None

    @property
    def reference(self) -> Reference:
        """The torch model's answers, once for all steps."""
        if self.used_reference is None:
            self.used_reference = self.images.reference
        return self.used_reference

    def build(self, quantization: Quantization | None) -> tuple[Path, Manifest]:
        """Export, compare, and write the manifest; returns the folder, which stays as it is, and the manifest."""
        folder = next(self._folders)
        folder.mkdir()
        self.answers = None
        job = self._job(quantization, folder)
        built = run_exporter(job)
        manifest = describe(self.request.run, self.model.preprocess, job, self.report, built)
        manifest = manifest.model_copy(update={"weights_sha256": self.weights_sha256})
        # The runtime reads the manifest too: it must be there before the artifact can be compared.
        manifest.save(folder)
        manifest = self._compared(manifest, folder)
        manifest.save(folder)
        return folder, manifest

    def _job(self, quantization: Quantization | None, folder: Path) -> Job:
        request, model = self.request, self.merged
        if quantization and quantization.fine_tuned:
            assert self.tuned is not None
            model = self.tuned
        if quantization and quantization.correct_biases:
            model = copy.deepcopy(model)
            correct_biases(model, quantization.images[:MEASURED_IMAGES], quantization)
        return Job(
            model=model,
            folder=folder,
            target=request.target,
            precision=request.precision,
            input_shape=(1, 3, self.size, self.size),
            input_dtype=request.input_dtype,
            dynamic=request.dynamic,
            classes=len(request.run.classes),
            metadata=self._metadata(),
            quantization=quantization,
            converted=self._converted,
        )

    def _metadata(self) -> dict[str, str]:
        run, prepared = self.request.run, Preparation.of(self.model.preprocess, self.request.target.layout)
        return metadata(run.classes, run.results.thresholds, prepared, (INPUT, OUTPUT))

    def _compared(self, manifest: Manifest, folder: Path) -> Manifest:
        """With what the comparison says. Where the runtime cannot run, that is of the runtime that stands in for it."""
        if self.request.skip_parity:
            parity = Parity(passed=None, reason="not compared with the torch model: exported with --skip-parity")
            return manifest.compared(parity, "unverified")
        proxy, obstacle = self.request.target.proxy, RUNTIMES.get(manifest.runtime).cannot_run()
        if obstacle is None:
            return self._judged(manifest, self._parity(folder))
        if proxy is None:
            parity = Parity(passed=None, reason=f"not compared: {manifest.runtime} {obstacle}")
            return manifest.compared(parity, "unverified")
        copied = self.scratch / "proxy"
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(folder, copied)
        stand_in = manifest.for_proxy(proxy)
        stand_in.save(copied)
        parity = self._parity(copied)
        if not parity.passed:
            return self._judged(manifest, parity)
        note = f"{manifest.runtime} {obstacle}: compared through {proxy}, which ran the graph it is built from"
        return manifest.compared(parity.model_copy(update={"reason": note}), "unverified")

    def _parity(self, folder: Path) -> Parity:
        judgement = judge(folder, self.reference, self.request.tolerance, self.scratch)
        self.answers = judgement.answers
        return judgement.parity

    def _judged(self, manifest: Manifest, parity: Parity) -> Manifest:
        return manifest.compared(parity, "ok" if parity.passed else "failed")
