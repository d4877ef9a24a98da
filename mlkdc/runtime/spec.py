"""What a runtime must know of a model to load and run it: the part of a manifest that goes to a device.

Standard library only: a device needs NumPy and one runtime, and not what records are checked with.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mlkdc.errors import UsageError


@dataclass(frozen=True)
class TensorSpec:
    """An input or output. A batch of any size has 1 as its first size; ``layout`` is that of an image."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: str = ""


@dataclass(frozen=True)
class EngineSpec:
    """What a TensorRT engine was built with and for."""

    library: str
    version: str
    compute_capability: str


@dataclass(frozen=True)
class ModelSpec:
    """One model.

    Args:
        runtime: name of the registered runtime that loads it.
        precision: ``fp32``, ``fp16``, ``int8``.
        files: names relative to its folder.
        input: RGB in 0..255.
        output: probabilities ``[batch, classes]``.
        dynamic_batch: whether more than one image may be given at once.
        literal: run the graph as it is written, without the runtime's own changes.
        full_range: int8 weights whose sums an x86 processor without VNNI overflows.
        engine: of a TensorRT model.
        metadata: what the file says of itself, where its format has a place for it.
    """

    runtime: str
    precision: str
    files: tuple[str, ...]
    input: TensorSpec
    output: TensorSpec
    dynamic_batch: bool = False
    literal: bool = False
    full_range: bool = False
    engine: EngineSpec | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def image_size(self) -> int:
        """Input width and height in pixels."""
        return self.input.shape[2]

    @property
    def classes(self) -> int:
        """How many labels it gives."""
        return self.output.shape[-1]

    def only_file(self, folder: Path, ending: str) -> Path:
        """The one model file with that ending.

        Raises:
            UsageError: there is none, or more than one.
        """
        names = [name for name in self.files if name.endswith(ending)]
        if len(names) != 1:
            raise UsageError(
                f"{folder}: expected one {ending} file in the manifest, got {names or 'none'}; export the run again"
            )
        return folder / names[0]

    def to_json(self) -> str:
        """As :meth:`from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """The same on the other side of a pipe."""
        values = json.loads(text)
        values["files"] = tuple(values["files"])
        for role in ("input", "output"):
            tensor = values[role]
            values[role] = TensorSpec(**{**tensor, "shape": tuple(tensor["shape"])})
        if values["engine"] is not None:
            values["engine"] = EngineSpec(**values["engine"])
        return cls(**values)
