"""Opening an artifact to predict with it."""

from pathlib import Path

import numpy as np
from typing_extensions import Self

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.manifest import InputSpec, Manifest, OutputSpec
from mlkdc.records.metadata import metadata
from mlkdc.runtime.base import Backend
from mlkdc.runtime.model import BATCH, Model, load_backend
from mlkdc.runtime.spec import EngineSpec, ModelSpec, TensorSpec
from mlkdc.runtime.targets import load_target


class Session(Model):
    """An artifact ready to predict; made by :func:`open_artifact`, usable as a context manager."""

    def __init__(self, manifest: Manifest, backend: Backend) -> None:
        super().__init__(spec_of(manifest), backend)
        self.manifest = manifest

    def predict(self, images: np.ndarray, batch_size: int = BATCH) -> np.ndarray:
        """As :meth:`Model.predict`.

        Raises:
            MlkdcError: also where the answers are no probabilities.
        """
        probabilities = super().predict(images, batch_size)
        if fault := no_probabilities(probabilities):
            raise MlkdcError(f"{self.manifest.key} of {self.manifest.name}: {fault}; export the run again")
        return probabilities

    def __enter__(self) -> Self:
        return self


def open_artifact(folder: Path | str, *, threads: int | None = None, allow_failed: bool = False) -> Session:
    """Check an artifact folder completely and load it.

    Args:
        folder: holds manifest.json and the model files.
        threads: for one inference; None = the runtime's default.
        allow_failed: open it although its export failed (to compare it, or to look into it).

    Raises:
        UsageError: not an artifact, a file missing or changed (names it), a manifest that is not the file's, a failed
            export, an unknown runtime, or the runtime's package is missing.

    Example:
        >>> import numpy as np
        >>> from mlkdc import open_artifact
        >>> with open_artifact("runs/photos/export/onnx-fp32", threads=1) as session:
        ...     probabilities = session.predict(np.zeros((1, 3, 32, 32), dtype=np.uint8))
        >>> probabilities.shape, session.manifest.classes
        ((1, 3), ('red', 'green', 'blue'))
    """
    folder = Path(folder)
    manifest = Manifest.load(folder)
    if not allow_failed:
        refuse_failed(folder, manifest)
    check_artifact(folder, manifest)
    session = Session(manifest, load_backend(folder, spec_of(manifest), threads))
    try:
        session.check_metadata(folder)
    except UsageError:
        session.close()
        raise
    return session


def check_artifact(folder: Path, manifest: Manifest) -> None:
    """Check all that can be known of an artifact without its runtime.

    Args:
        folder: of the artifact.
        manifest: of that folder.

    Raises:
        UsageError: a file is missing or changed, the artifact is of another run than the one it lies in, or the target
            has no such precision, or another runtime.
    """
    manifest.verify(folder)
    manifest.check_run(folder)
    manifest.check_weights(folder)
    try:
        target = load_target(manifest.target)
        target.tolerance(manifest.precision)
    except UsageError as error:
        raise UsageError(f"{folder / manifest.FILE}: {error}; {manifest.REMEDY}") from None
    if manifest.runtime != target.runtime:
        raise UsageError(
            f"{folder / manifest.FILE}: expected runtime {target.runtime}, which target {target.name} has, got "
            f"{manifest.runtime!r}; {manifest.REMEDY}"
        )


def refuse_failed(folder: Path, manifest: Manifest, way_out: str = "is not used without --allow-failed") -> None:
    """Raise UsageError where the artifact failed its parity check; ``way_out`` ends its sentence."""
    if manifest.status == "failed":
        reason = manifest.parity.reason or "no reason was recorded"
        raise UsageError(f"{folder} is a failed export ({reason}) and {way_out}")


def no_probabilities(answers: np.ndarray) -> str | None:
    """Why answers ``[n, q]`` cannot be probabilities, in words; None where they can."""
    if not np.isfinite(answers).all():
        return "the exported model gives NaN or infinity"
    if answers.size and (answers.min() < 0 or answers.max() > 1):
        return (
            f"the exported model gives {answers.min():.3g}..{answers.max():.3g} where probabilities are in 0..1: "
            "the sigmoid is missing, or something overflows"
        )
    return None


def spec_of(manifest: Manifest) -> ModelSpec:
    """The part of a manifest that a runtime needs."""
    details, engine = manifest.details, None
    if details.engine is not None:
        built = details.engine
        engine = EngineSpec(built.library, built.version, built.compute_capability)
    return ModelSpec(
        runtime=manifest.runtime,
        precision=manifest.precision,
        files=tuple(manifest.files),
        input=_tensor(manifest.input, manifest.input.layout),
        output=_tensor(manifest.output),
        dynamic_batch=manifest.dynamic_batch,
        literal=details.proxy,
        full_range=details.reduce_range is False,
        engine=engine,
        metadata=metadata(
            manifest.classes, manifest.thresholds, manifest.preprocess, (manifest.input.name, manifest.output.name)
        ),
    )


def _tensor(spec: InputSpec | OutputSpec, layout: str = "") -> TensorSpec:
    return TensorSpec(spec.name, spec.dtype, spec.shape, layout)
