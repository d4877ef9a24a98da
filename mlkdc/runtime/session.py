"""Opening an artifact to predict with it."""

from pathlib import Path

from typing_extensions import Self

from mlkdc.errors import UsageError
from mlkdc.records.manifest import InputSpec, Manifest, OutputSpec
from mlkdc.runtime.base import Backend
from mlkdc.runtime.model import Model, load_backend
from mlkdc.runtime.spec import EngineSpec, ModelSpec, TensorSpec


class Session(Model):
    """An artifact ready to predict; made by :func:`open_artifact`, usable as a context manager."""

    def __init__(self, manifest: Manifest, backend: Backend) -> None:
        super().__init__(spec_of(manifest), backend)
        self.manifest = manifest

    def __enter__(self) -> Self:
        return self


def open_artifact(folder: Path | str, *, threads: int | None = None, allow_failed: bool = False) -> Session:
    """Check an artifact folder completely and load it.

    Args:
        folder: holds manifest.json and the model files.
        threads: for one inference; None = the runtime's default.
        allow_failed: open it although its export failed (to compare it, or to look into it).

    Raises:
        UsageError: not an artifact, a file missing or changed (names it), a failed export, an unknown
            runtime, or the runtime's package is missing.

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
    manifest.verify(folder)
    manifest.check_run(folder)
    return Session(manifest, load_backend(folder, spec_of(manifest), threads))


def refuse_failed(folder: Path, manifest: Manifest) -> None:
    """Raise UsageError where the artifact failed its parity check."""
    if manifest.status == "failed":
        reason = manifest.parity.reason or "no reason was recorded"
        raise UsageError(f"{folder} is a failed export ({reason}) and is not used without --allow-failed")


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
    )


def _tensor(spec: InputSpec | OutputSpec, layout: str = "") -> TensorSpec:
    return TensorSpec(spec.name, spec.dtype, spec.shape, layout)
