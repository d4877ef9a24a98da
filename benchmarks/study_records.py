"""What lies in benchmarks/results, but for losses.json: one record for each study's file."""

from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import Self

from mlkdc.recipe import Form
from mlkdc.records.base import FileRecord, Record
from mlkdc.records.bench import BenchFile, Turn
from mlkdc.records.machine import Machine
from mlkdc.records.manifest import Manifest, MergeReport, RuntimeDetails, Status
from mlkdc.records.parity import Parity, ParityFigures, QuantizationReport
from mlkdc.records.results import DataFacts, ModelFacts, ModelSize, Results, TeacherFacts


class StudyFile(FileRecord):
    """A study's file: a reader checks its format, the script that writes it knows its name."""

    FORMAT: ClassVar[int] = 2
    REMEDY: ClassVar[str] = "measure again with the script in benchmarks/ that writes it"


class MeasuredStudy(StudyFile):
    """A study that was measured on one machine, with one set of packages."""

    versions: dict[str, str]
    machine: Machine


class RowsStudy(StudyFile):
    """A study's file that grows row by row; a subclass says of which kind the rows are."""

    rows: tuple[Record, ...] = ()


class StudyData(Record):
    """What was trained and scored on, without the path, which is another one on every machine.

    Args:
        images: number of images by split.
        classes: number of labels.
        split_from: ``official``, or a sentence saying how the split was made.
    """

    name: str
    images: dict[str, int]
    classes: int
    split_from: str | None = None

    @classmethod
    def of(cls, facts: DataFacts) -> Self:
        """Of a finished training."""
        return cls(name=facts.name, images=facts.images, classes=facts.classes, split_from=facts.split_from)


class Training(Record):
    """One row of a study of methods.

    Args:
        student: name of the backbone.
        method: name of the row; the distillation method, and what is changed about it.
        command: that trained it.
        terms: weight by loss term; empty where it was not recorded.
        form: of the terms.
        scored_on: the split; None where it was not recorded.
        metrics: in percent by name.
        val_map_percent: on the validation split, after every epoch.
        teacher: None where the method has none.
    """

    student: str
    method: str
    seed: int
    command: str
    training_seconds: float
    terms: dict[str, float] = Field(default_factory=dict)
    form: Form | None = None
    scored_on: str | None = None
    metrics: dict[str, float]
    val_map_percent: tuple[float | None, ...]
    model: ModelFacts
    teacher: TeacherFacts | None
    versions: dict[str, str]
    machine: Machine
    data: StudyData

    @property
    def map_percent(self) -> float:
        """Mean average precision on the scored split."""
        return self.metrics["mAP"]

    @property
    def key(self) -> tuple[str, str, int]:
        """What names the row in its study."""
        return self.student, self.method, self.seed


class MethodsStudy(RowsStudy):
    """quickstart.json and digits.json: the same students trained by several methods."""

    rows: tuple[Training, ...] = ()


class TimedModel(Record):
    """A run whose export is timed.

    Args:
        run: name of the run folder.
        map_percent: of the torch model, on ``scored_on``.
        parity, merge: of its ONNX artifact.
    """

    run: str
    model: ModelFacts
    method: str
    map_percent: float
    scored_on: str
    parity: Parity
    merge: MergeReport

    @classmethod
    def of(cls, name: str, results: Results, manifest: Manifest) -> Self:
        """Of a finished run and its artifact."""
        return cls(
            run=name,
            model=results.model,
            method=results.method,
            map_percent=results.map_percent,
            scored_on=results.scored_on,
            parity=manifest.parity,
            merge=manifest.merge,
        )


def turn_without_samples(turn: Turn) -> Turn:
    """A turn's figures: single calls would be most of a study's file, and no document shows them."""
    return turn.model_copy(update={"samples_us": ()})


def without_samples(bench: BenchFile) -> BenchFile:
    """The figures of a study, whose turns are :func:`turn_without_samples`."""
    rows = []
    for row in bench.rows:
        turns = tuple(map(turn_without_samples, row.turns))
        rows.append(row.model_copy(update={"turns": turns}))
    return bench.model_copy(update={"rows": tuple(rows)})


def _with_current_bench(values: dict[str, Any]) -> dict[str, Any]:
    """A part of a study of format 2, whose ``bench`` is of bench.json's format 2."""
    return {**values, "bench": BenchFile.upgraded(2, values["bench"])}


class LatencyStudy(StudyFile):
    """latency.json: a student next to its teacher."""

    FORMAT: ClassVar[int] = 3

    bench: BenchFile
    student: TimedModel
    teacher: TimedModel

    @classmethod
    def upgraded(cls, written: object, values: dict[str, Any]) -> dict[str, Any] | None:
        """Of format 2 on."""
        if written != 2:
            return None
        return _with_current_bench(values)


class Int8Figures(Record):
    """Of :class:`mlkdc.records.parity.ParityFigures`, what this study shows."""

    map_artifact_percent: float
    map_drop_points: float
    worst_class: str | None
    worst_class_drop_points: float
    label_flips: int

    @classmethod
    def of(cls, figures: ParityFigures) -> Self:
        """Of a comparison."""
        return cls(**figures.model_dump(include=set(cls.model_fields)))


class Int8Row(Record):
    """One way of making an int8 artifact, and what it costs.

    Args:
        weights: which model was quantized.
        ranges: how its ranges were estimated.
        calibration_images: how many they were estimated on.
        images: how many the answers were compared on.
        figures: None where the artifact gave NaN or infinity.
    """

    target: str
    weights: str
    ranges: str
    calibration_images: int
    images: int
    map_torch_percent: float
    figures: Int8Figures | None


class Int8Study(RowsStudy, MeasuredStudy):
    """int8.json: ways of making one student int8."""

    command: str
    student: str
    seed: int
    rows: tuple[Int8Row, ...] = ()


class QatStudy(Int8Study):
    """qat.json: what fine-tuning for int8 saves."""

    FILE: ClassVar[str] = "qat.json"

    data: str


class HeadRow(Record):
    """A head on MobileNetV2.

    Args:
        size: of the merged model.
        median_ms: the median of several passes' medians.
        ratio_to_linear: of latencies, the median over passes.
    """

    head: str
    image_size: int
    classes: int
    size: ModelSize
    median_ms: float
    ratio_to_linear: float


class HeadsStudy(MeasuredStudy):
    """heads.json: what each head costs."""

    rows: tuple[HeadRow, ...]


class ViewRow(Record):
    """A way of making training views.

    Args:
        ms_per_image: the median of several passes' medians.
        ratio_to_mlkdc: of times, the median over passes.
    """

    way: str
    image_size: int
    ms_per_image: float
    ratio_to_mlkdc: float


class ViewsStudy(MeasuredStudy):
    """views.json: what training views cost."""

    FILE: ClassVar[str] = "views.json"

    rows: tuple[ViewRow, ...]


class Shipped(Record):
    """An artifact as its manifest describes it; ``size_bytes`` of all its files."""

    status: Status
    precision: str
    target: str
    runtime: str
    parity: Parity
    quantization: QuantizationReport | None
    details: RuntimeDetails
    merge: MergeReport
    versions: dict[str, str]
    size_bytes: int

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Of an artifact folder's manifest."""
        return cls(
            status=manifest.status,
            precision=manifest.precision,
            target=manifest.target,
            runtime=manifest.runtime,
            parity=manifest.parity,
            quantization=manifest.quantization,
            details=manifest.details,
            merge=manifest.merge,
            versions=manifest.versions,
            size_bytes=manifest.size_bytes,
        )


class StudentEntry(Record):
    """All that docs/targets.md shows of one student.

    Args:
        bench: its artifacts, torch eager and what is exported without mlkdc, timed in one run.
        commands: of its training, or of two, at a small and at the full image size.
        training_seconds: of the same.
        missing: why there is no artifact, by its name.
        metrics: of the torch model in percent, on ``scored_on``.
        artifacts: by name.
    """

    bench: BenchFile
    commands: tuple[str, ...]
    training_seconds: tuple[float, ...]
    seed: int
    missing: dict[str, str]
    model: ModelFacts
    metrics: dict[str, float]
    scored_on: str
    data: StudyData
    artifacts: dict[str, Shipped]


class TargetsStudy(StudyFile):
    """targets.json and targets-avx2.json: students by name."""

    FORMAT: ClassVar[int] = 3

    students: dict[str, StudentEntry] = Field(default_factory=dict)

    @classmethod
    def upgraded(cls, written: object, values: dict[str, Any]) -> dict[str, Any] | None:
        """Of format 2 on."""
        if written != 2:
            return None
        students = values["students"].items()
        return {"students": {name: _with_current_bench(student) for name, student in students}}
