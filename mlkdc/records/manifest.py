"""manifest.json: all that must be known to use an artifact folder, and proof that its files are whole."""

import json
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from mlkdc.errors import UsageError
from mlkdc.resources import file_sha256, write_json

FORMAT = 1
NAME = "manifest.json"
_KEYS = {"input": {"name", "shape", "layout", "dtype"}, "output": {"name", "shape", "dtype"}}


@dataclass
class Manifest:
    """The contents of manifest.json, key by key.

    Args:
        name: the run's name.
        target: what it was exported to (``onnx``).
        runtime: which registered runtime loads it (``onnxruntime``).
        precision: ``fp32``, ``fp16``, ``int8``.
        files: sha256 and bytes of each model file, by name relative to the folder.
        classes: label names, in output order.
        thresholds: one per class; a label is given when its probability is at least this.
        preprocess: size, mean, std, resize, color, range: how a picture becomes the input.
        input: name, shape (static batch written as 1), layout (``NCHW`` or ``NHWC``) and dtype (``float32`` or
            ``uint8``, both 0..255).
        output: name, shape, dtype.
        dynamic_batch: whether more than one image may be given at once.
        merge: what re-parameterization merged, and its largest output difference.
        parity: the comparison with the torch model: answers, decisions, mAP and the worst class.
        details: what else this target needs (a GPU's compute capability, the version that built an engine).
        quantization: for int8: calibration images, and each step that was tried with its figures.
        status: ``ok``; ``failed``: kept for inspection and refused for use; ``unverified``: its runtime cannot run
            where it was exported, ``parity`` says what was compared instead.
    """

    name: str
    target: str
    runtime: str
    precision: str
    files: dict[str, dict[str, Any]]
    classes: list[str]
    thresholds: list[float]
    preprocess: dict[str, Any]
    input: dict[str, Any]
    output: dict[str, Any]
    dynamic_batch: bool
    recipe_hash: str
    versions: dict[str, str]
    created: str
    merge: dict[str, Any]
    parity: dict[str, Any]
    details: dict[str, Any]
    quantization: dict[str, Any] | None
    status: Literal["ok", "failed", "unverified"] = "failed"
    format: int = FORMAT

    def save(self, folder: Path) -> None:
        """Write manifest.json into ``folder``, atomically."""
        write_json(folder / NAME, {"format": self.format, **asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Read ``folder``/manifest.json; the model files are not looked at (:meth:`verify` does).

        Raises:
            UsageError: no manifest there, not JSON, another format version, keys missing or unknown, or
                thresholds and outputs that do not match the classes.
        """
        path = folder / NAME
        values = _read(path)
        known = {field.name: field for field in fields(cls)}
        missing = [name for name, field in known.items() if name not in values and field.default is MISSING]
        unknown = sorted(set(values) - set(known))
        if missing or unknown:
            faults = [f"lacks {', '.join(missing)}"] * bool(missing)
            faults += [f"has unknown {', '.join(unknown)}"] * bool(unknown)
            raise UsageError(f"{path} {' and '.join(faults)}; export the run again")
        manifest = cls(**values)
        manifest._check(path)
        return manifest

    def _check(self, path: Path) -> None:
        records = {"input": self.input, "output": self.output, **self.files}
        for name, record in records.items():
            keys = _KEYS.get(name, {"sha256", "bytes"})
            if not isinstance(record, dict) or not keys <= set(record):
                raise UsageError(f"{path}: {name!r} lacks one of {', '.join(sorted(keys))}; export the run again")
        counts = len(self.classes), len(self.thresholds), self.output["shape"][-1]
        if len(set(counts)) != 1:
            raise UsageError(
                f"{path} has {counts[0]} classes, {counts[1]} thresholds and {counts[2]} outputs; "
                "expected equal numbers; export the run again"
            )
        if self.input["dtype"] not in ("float32", "uint8"):
            raise UsageError(f"{path}: expected input dtype float32 or uint8, got {self.input['dtype']!r}")
        if self.input["layout"] not in ("NCHW", "NHWC"):
            raise UsageError(f"{path}: expected input layout NCHW or NHWC, got {self.input['layout']!r}")

    @property
    def size_bytes(self) -> int:
        """Bytes of all model files together, as recorded."""
        return sum(int(record["bytes"]) for record in self.files.values())

    @property
    def image_size(self) -> int:
        """Input width and height in pixels."""
        return int(self.input["shape"][2])

    def only_file(self, folder: Path, ending: str) -> Path:
        """The one model file with that ending.

        Raises:
            UsageError: there is none, or more than one.
        """
        names = [name for name in self.files if name.endswith(ending)]
        if len(names) != 1:
            raise UsageError(f"{folder}: expected one {ending} file in the manifest, got {names or 'none'}")
        return folder / names[0]

    def verify(self, folder: Path) -> None:
        """Compare every recorded file with what lies in ``folder``.

        Raises:
            UsageError: a file is missing, shorter or longer than recorded, or has another SHA-256; names it.
        """
        for name, record in self.files.items():
            relative = PurePosixPath(name)
            if relative.is_absolute() or ".." in relative.parts:
                raise UsageError(f"{folder / NAME} names a file outside its folder: {name}")
            path = folder / relative
            if not path.is_file():
                raise UsageError(f"{path} is missing; copy the whole artifact folder, or export the run again")
            size = path.stat().st_size
            if size != record["bytes"]:
                raise UsageError(
                    f"{path} has {size} bytes, expected {record['bytes']}: cut short or replaced; "
                    "copy it again, or export the run again"
                )
            if file_sha256(path) != record["sha256"]:
                raise UsageError(
                    f"{path} was changed since its export (SHA-256 differs from {NAME}); "
                    "copy it again, or export the run again"
                )


def describe_files(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """The ``files`` entry of a manifest for the named files of ``folder``."""
    return {name: {"sha256": file_sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in names}


def is_artifact(folder: Path) -> bool:
    """Whether a folder holds a manifest of ours, of whatever version; other tools name files manifest.json too."""
    try:
        values = json.loads((folder / NAME).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and {"format", "runtime", "files", "classes"} <= set(values)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(
            f"{path.parent} is not an artifact: it has no {NAME}; "
            "expected a folder that `mlkdc export` wrote, such as RUN/export/onnx-fp32"
        )
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"{path} is not JSON ({error}); export the run again") from None
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise UsageError(
            f"{path} has format {found!r}, this version of mlkdc reads {FORMAT}; export the run again with it"
        )
    return values
