"""manifest.json: all that must be known to use an artifact folder, and proof that its files are complete."""

import hashlib
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from mlkdc.errors import UsageError
from mlkdc.records.base import FileRecord, Moment, Record, read_mapping, read_run_text
from mlkdc.records.parity import FineTuning, Parity, Promise, QuantizationReport
from mlkdc.records.preparation import InsideNote, Preparation
from mlkdc.records.preparation import Preprocess as Preprocess  # what models are made with is looked for here too
from mlkdc.records.preparation import TensorLayout as TensorLayout
from mlkdc.records.results import ModelSize, Results
from mlkdc.resources import digest, file_sha256, write_json

Dtype = Literal["float32", "uint8"]
Status = Literal["ok", "failed", "unverified"]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
CHECKSUM = "checksum"
#: Of a run folder: label names in the order of the outputs, and where its artifacts are.
CLASSES_FILE = "classes.txt"
EXPORT_FOLDER = "export"


class ModelFile(Record):
    """One file of an artifact, as it was written."""

    sha256: str
    size_bytes: int = Field(ge=0)


class InputSpec(Record):
    """What an artifact takes: RGB in 0..255. A batch of any size is recorded as 1."""

    name: str
    shape: tuple[int, int, int, int]
    layout: TensorLayout
    dtype: Dtype


class OutputSpec(Record):
    """What an artifact gives: probabilities ``[batch, classes]``."""

    name: str
    shape: tuple[int, int]
    dtype: Literal["float32"] = "float32"
    activation: Literal["sigmoid, inside the model"] = "sigmoid, inside the model"


class MergeReport(Record):
    """What re-parameterization merged.

    Args:
        branches: parallel branches that were added into the kernel of the one they run in parallel with.
        conv_bn: BatchNorms folded into the convolution before them, those in branches included.
        normalization: whether the input's scale went into the first convolution; else it stays an operation.
        head: whether the head had constant queries, and what depends on them alone was computed once.
        before, after: parameters and multiply-adds.
        max_logit_difference: the largest, on noise and on images with saturated borders.
    """

    branches: int
    conv_bn: int
    normalization: bool
    head: bool
    before: ModelSize
    after: ModelSize
    max_logit_difference: float


class Engine(Record):
    """What a TensorRT engine was built with and for.

    Args:
        library: package that built it, ``tensorrt`` or ``tensorrt_rtx``.
        version: of that library; no other version can read it.
        compute_capability: of the GPUs it runs on; ``8.0+`` is that and any later one.
        gpu: name of the GPU it was built on, if there was one.
        batch: smallest, typical and largest.
    """

    library: str
    version: str
    compute_capability: str
    gpu: str | None
    batch: tuple[int, int, int]


class RuntimeDetails(Record):
    """What else must be known to run an artifact; None where it does not apply.

    Args:
        needs: hardware and software, in words.
        reduce_range: whether int8 weights keep to half of their range. With the full range, x86 needs VNNI.
        engine: of a TensorRT artifact.
        ncnn_options: fields of ``ncnn::Option`` to set before the net is loaded.
        outside_xnnpack: operators that ExecuTorch runs with its own kernels.
        unverified_by_authors: what mlkdc's authors could not run.
        proxy: whether the runtime stands in for another one, and must run the graph as it is written.
    """

    needs: str | None = None
    reduce_range: bool | None = None
    engine: Engine | None = None
    ncnn_options: dict[str, bool] | None = None
    outside_xnnpack: tuple[str, ...] | None = None
    unverified_by_authors: str | None = None
    proxy: bool = False


class Manifest(FileRecord):
    """The contents of manifest.json.

    Args:
        name: the run's name.
        target: what it was exported to (``onnx``).
        runtime: which registered runtime loads it (``onnxruntime``).
        precision: ``fp32``, ``fp16``, ``int8``.
        files: by name relative to the folder, with / between folders.
        classes: label names, in output order.
        thresholds: one per class; a label is given when its probability is at least this.
        decision: when a label is given, in words.
        preprocess: how an image becomes the input.
        inside: what the model does itself.
        dynamic_batch: whether more than one image may be given at once.
        recipe_hash: of the training it came from.
        weights_sha256: of the trained model's file; None where an older version did not record it.
        versions: of Python and packages, at export.
        created: when, in ISO 8601.
        quantization: for int8, how it came about.
        status: ``ok``; ``failed``: kept for inspection and refused for use; ``unverified``: its runtime cannot run
            where it was exported, or no comparison was wanted; ``parity`` says what was compared instead.
    """

    FILE: ClassVar[str] = "manifest.json"
    FORMAT: ClassVar[int] = 3
    REMEDY: ClassVar[str] = "export the run again"

    name: str
    target: str
    runtime: str
    precision: str
    files: dict[str, ModelFile]
    classes: tuple[str, ...]
    thresholds: tuple[Probability, ...]
    decision: Literal["probability >= threshold"] = "probability >= threshold"
    preprocess: Preparation
    inside: InsideNote = InsideNote()
    input: InputSpec
    output: OutputSpec
    dynamic_batch: bool
    recipe_hash: str
    weights_sha256: str | None = None
    versions: dict[str, str]
    created: Moment
    merge: MergeReport
    details: RuntimeDetails
    parity: Parity
    quantization: QuantizationReport | None = None
    status: Status = "failed"

    @model_validator(mode="after")
    def _one_of_each_per_class(self) -> Self:
        counts = len(self.classes), len(self.thresholds), self.output.shape[-1]
        if len(set(counts)) != 1:
            raise ValueError(
                f"expected as many classes as thresholds and outputs, got {counts[0]} classes, {counts[1]} thresholds "
                f"and {counts[2]} outputs"
            )
        if "" in self.classes:
            raise ValueError("expected a name for each class, got an empty one")
        if any("\n" in name for name in self.classes):
            raise ValueError("expected class names of one line, got one with a line break")
        repeated = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if repeated:
            raise ValueError(f"expected each class once, got {', '.join(repeated)} more than once")
        return self

    @model_validator(mode="after")
    def _inside_its_folder(self) -> Self:
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"expected files in the artifact's folder, got one outside its folder: {name}")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        size = self.preprocess.size
        expected = (1, 3, size, size)
        if self.input.layout == "NHWC":
            expected = (1, size, size, 3)
        if self.input.shape != expected:
            raise ValueError(
                f"images of size {size} in layout {self.input.layout} have shape {expected}, "
                f"the input has {self.input.shape}"
            )
        if self.output.shape[0] != 1:
            raise ValueError(f"expected an output for one image, of shape (1, classes), got {self.output.shape}")
        if self.status == "ok" and not self.parity.passed:
            raise ValueError("status is ok, and its comparison with the torch model was not passed")
        return self

    @property
    def size_bytes(self) -> int:
        """Of all model files together, as recorded."""
        return sum(file.size_bytes for file in self.files.values())

    @property
    def files_sha256(self) -> str:
        """Over the names and checksums of all model files."""
        lines = [f"{self.files[name].sha256}  {name}\n" for name in sorted(self.files)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def image_size(self) -> int:
        """Input width and height in pixels."""
        return self.input.shape[2]

    @property
    def key(self) -> str:
        """Target and precision, as its folder is called: ``openvino-int8``."""
        return f"{self.target}-{self.precision}"

    @property
    def promise(self) -> Promise | None:
        """What can be expected of int8 on other images; of what failed on those compared, nothing."""
        if self.quantization is None or self.status == "failed":
            return None
        return self.quantization.promise

    @property
    def fine_tuning(self) -> FineTuning | None:
        """Of its weights for int8; None where they are those that results.json scored."""
        if self.quantization is None:
            return None
        return self.quantization.fine_tuning

    @classmethod
    def load_from(cls, path: Path) -> Self:
        """Read the file under another name. Raises as :meth:`load`."""
        if not path.is_file():
            raise UsageError(
                f"{path.parent} is not an artifact: it has no {path.name}; "
                "expected a folder that `mlkdc export` wrote, such as RUN/export/onnx-fp32"
            )
        values = read_mapping(path, cls.REMEDY)
        recorded = values.pop(CHECKSUM, None)
        computed = _checksum(values)
        manifest = cls.from_values(path, dict(values))
        if values.get("format") == cls.FORMAT and recorded != computed:
            raise UsageError(
                f"{path} was changed since its export (it is not what its {CHECKSUM} was computed of); "
                f"copy it again, or {cls.REMEDY}"
            )
        return manifest

    def save_as(self, path: Path) -> None:
        """Write the file under another name, with a checksum of itself. Raises as :meth:`save`."""
        values = {"format": self.FORMAT, **self.model_dump(mode="json")}
        write_json(path, {**values, CHECKSUM: _checksum(values)})

    @classmethod
    def upgraded(cls, written: object, values: dict[str, Any]) -> dict[str, Any] | None:
        """Format 2 had mean and std next to what is to be done to an image, and no checksum."""
        if written != 2 or "inside" in values:  # what calls itself 2 to go without a checksum
            return None
        try:
            old = Preprocess(**values["preprocess"])
            prepared = Preparation.of(old, values["input"]["layout"])
        except (KeyError, TypeError, ValidationError):
            return values  # the faults are named as they are in any manifest
        inside = InsideNote(mean=old.mean, std=old.std)
        return {**values, "preprocess": prepared.model_dump(), "inside": inside.model_dump()}

    def compared(self, parity: Parity, status: Status) -> Self:
        """The same after a comparison with the torch model."""
        return self.model_copy(update={"parity": parity, "status": status})

    def quantized(self, report: QuantizationReport) -> Self:
        """The same with how its int8 model came about."""
        return self.model_copy(update={"quantization": report})

    def for_proxy(self, runtime: str) -> Self:
        """The same, to be run by another runtime, which must keep to the graph as it is written."""
        details = self.details.model_copy(update={"proxy": True})
        return self.model_copy(update={"runtime": runtime, "details": details})

    def check_run(self, folder: Path) -> None:
        """Raise UsageError where the artifact lies in the folder of a run that has other or unreadable classes."""
        labels = folder.resolve().parent.parent / CLASSES_FILE
        if folder.resolve().parent.name != EXPORT_FOLDER or not labels.is_file():
            return
        classes = read_classes(labels)
        if classes != self.classes:
            raise UsageError(
                f"{folder} is an artifact of another run: its classes are not those of {labels.parent} "
                f"({_other_names(classes, self.classes)}); export that run again"
            )

    def check_weights(self, folder: Path) -> None:
        """Raise UsageError where the artifact lies in the folder of a run that scored other weights."""
        run = folder.resolve().parent.parent
        if folder.resolve().parent.name != EXPORT_FOLDER or self.weights_sha256 is None:
            return
        if _scored_weights(run) not in (None, self.weights_sha256):
            raise UsageError(
                f"{folder} was made from other weights than those that {run / Results.FILE} scored; "
                "export that run again"
            )

    def verify(self, folder: Path) -> None:
        """Compare every recorded file with what lies in ``folder``.

        Raises:
            UsageError: a file is missing, shorter or longer than recorded, or has another SHA-256; names it.
        """
        for name, file in self.files.items():
            _verify(folder / PurePosixPath(name), file)


def _scored_weights(run: Path) -> str | None:
    """The SHA-256 of the weights that a run's results are of; None where they do not say."""
    try:
        return Results.load(run).weights_sha256
    except UsageError:
        return None


def read_classes(path: Path) -> tuple[str, ...]:
    """Label names in the order of the outputs, from a run's classes.txt. Raises as :func:`read_run_text`."""
    # Not splitlines: a label may hold what that takes for the end of a line.
    return tuple(read_run_text(path).rstrip("\n").split("\n"))


def _other_names(expected: tuple[str, ...], got: tuple[str, ...]) -> str:
    """In which way two lists of labels differ."""
    if sorted(expected) == sorted(got):
        return "the same in another order"
    missing = [name for name in expected if name not in got]
    added = [name for name in got if name not in expected]
    return f"{len(missing)} of the run's are missing and {len(added)} others are there"


def _checksum(values: dict[str, Any]) -> str:
    """The SHA-256 of a manifest's JSON without the checksum, its keys sorted."""
    return digest(values, length=64)


def _verify(path: Path, recorded: ModelFile) -> None:
    if not path.is_file():
        raise UsageError(f"{path} is missing; copy the complete artifact folder, or export the run again")
    size = path.stat().st_size
    if size != recorded.size_bytes:
        raise UsageError(
            f"{path} has {size} bytes, expected {recorded.size_bytes}: truncated or replaced; "
            "copy it again, or export the run again"
        )
    if file_sha256(path) != recorded.sha256:
        raise UsageError(
            f"{path} was changed since its export (its SHA-256 differs from {Manifest.FILE}); "
            "copy it again, or export the run again"
        )


def describe_files(folder: Path, names: list[str]) -> dict[str, ModelFile]:
    """The ``files`` entry of a manifest for the named files of ``folder``."""
    described = {}
    for name in names:
        path = folder / name
        described[name] = ModelFile(sha256=file_sha256(path), size_bytes=path.stat().st_size)
    return described


def is_artifact(folder: Path) -> bool:
    """Whether a folder holds a manifest of ours, of whatever version; other tools name files manifest.json too."""
    try:
        values = read_mapping(folder / Manifest.FILE, "")
    except UsageError:
        return False
    return {"format", "runtime", "files", "classes"} <= set(values)
