"""results.json and metrics.jsonl: what a trained model is worth, and how it got there."""

import json
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, ValidationError

from mlkdc.errors import UsageError
from mlkdc.figures import counted
from mlkdc.records.base import FileRecord, Moment, Record, faults
from mlkdc.records.machine import Machine

METRICS_FILE = "metrics.jsonl"


class ClassScore(Record):
    """One class on the scored split.

    Args:
        ap_percent: average precision; None for a class without a positive image.
        positives: images that have the label.
        threshold: a label is given when its probability is at least this.
    """

    name: str
    ap_percent: float | None
    positives: int
    threshold: float


class Scores(Record):
    """Accuracy on one split.

    Args:
        scored_on: the split.
        thresholds_from: what the thresholds were tuned on: a split, or the manifest they come from.
        thresholds: one per class, in the order of the outputs.
        metrics: in percent by name: mAP, OF1, CF1, ... (:func:`mlkdc.metrics.evaluate`).
        classes_without_positive: how many classes every mean over classes leaves out.
        per_class: in the order of the outputs.
        images: how many were scored; None where an older version did not record it.
        sharing_threshold: how many classes had too few images to tune a threshold on, and share one.
    """

    scored_on: str
    thresholds_from: str
    thresholds: tuple[float, ...]
    metrics: dict[str, float]
    classes_without_positive: int
    per_class: tuple[ClassScore, ...]
    images: int | None = None
    sharing_threshold: int = 0

    @property
    def shared_threshold(self) -> str | None:
        """That classes share a threshold, in a sentence; None where each has a separate one."""
        if not self.sharing_threshold:
            return None
        return (
            f"{self.sharing_threshold} of {len(self.per_class)} labels have too few {self.thresholds_from} images to "
            "tune a threshold on: they share one that is tuned on all labels together (0.5 where that is too little "
            "as well)"
        )

    @property
    def map_percent(self) -> float:
        """Mean average precision over the classes that have a positive image."""
        return self.metrics["mAP"]


class ModelSize(Record):
    """Parameters and multiply-adds (of one image), in total and by part."""

    params: int
    params_backbone: int
    params_head: int
    macs: int
    macs_backbone: int
    macs_head: int


class ModelFacts(ModelSize):
    """A student: the names its recipe gives it, and its size.

    Args:
        model: name of the backbone.
        width: channel multiplier.
        head: kind of head.
        image_size: input width and height in pixels.
    """

    model: str
    width: float = 1.0
    head: str
    image_size: int


class TeacherFacts(Record):
    """The teacher of a student.

    Args:
        model: name of the backbone.
        image_size: input width and height in pixels.
        run: its run folder, or its weights file.
        params, macs, metrics: of the teacher's run; None for a weights file.
        scored_on: the split of its metrics; None where that is not known to be of the student's data.
        trained_on: how many images it was trained on of each split that the student is not trained on; mostly none.
    """

    model: str
    image_size: int
    run: str
    params: int | None = None
    macs: int | None = None
    metrics: dict[str, float] | None = None
    scored_on: str | None = None
    trained_on: dict[str, int] = Field(default_factory=dict)

    @property
    def leak(self) -> str | None:
        """That the teacher has learned images that the student is scored on, in a sentence."""
        if not self.trained_on:
            return None
        counts = " and ".join(f"{counted(count, f'{split} image')}" for split, count in self.trained_on.items())
        return (
            f"the teacher in {self.run} was trained on {counts} of this data: the student can score too well on them, "
            "and the teacher's figures are not compared; use a teacher with the same splits"
        )

    def map_percent_on(self, split: str) -> float | None:
        """Mean average precision on a split of the student's data; None where it is not known."""
        if self.metrics is None or self.scored_on != split:
            return None
        return self.metrics["mAP"]


class DataFacts(Record):
    """What a model was trained and scored on.

    Args:
        images: number of images by split.
        classes: number of labels.
        split_from: ``official``, or a sentence saying how the split was made.
        skipped: paths of unreadable images that were left out on request.
    """

    name: str
    path: str
    layout: str
    images: dict[str, int]
    classes: int
    split_from: str
    skipped: tuple[str, ...] = ()


class Results(Scores, FileRecord):
    """results.json: a finished training.

    Args:
        name: of the recipe.
        method: the distillation method.
        recipe_hash: digest of the resolved recipe.
        command: that began the training.
        started: when, in ISO 8601.
        training_seconds: spent in the epochs, stopped and resumed parts together.
        versions: of Python and packages.
        teacher: None where the method has none.
        kept_epoch: after which the weights were taken, from 1; None where an older version did not record it.
        kept_average: whether they are a moving average over the steps.
        chosen_on: the split on which they scored best of several; None where they were not chosen.
        weights_sha256: of the weights file that was scored; None where an older version did not record it.
    """

    FILE: ClassVar[str] = "results.json"
    FORMAT: ClassVar[int] = 2
    REMEDY: ClassVar[str] = "delete it and write it again with `mlkdc distill --resume` on its run folder"

    name: str
    method: str
    recipe_hash: str
    command: str
    seed: int
    started: Moment
    training_seconds: float
    versions: dict[str, str]
    machine: Machine
    data: DataFacts
    teacher: TeacherFacts | None
    model: ModelFacts
    kept_epoch: int | None = None
    kept_average: bool = False
    chosen_on: str | None = None
    weights_sha256: str | None = None

    @property
    def kept(self) -> str | None:
        """Which weights they are, in words; None where that was not recorded."""
        if self.kept_epoch is None:
            return None
        text = f"after epoch {self.kept_epoch}"
        if self.kept_average:
            text += ", averaged"
        if self.chosen_on is not None:
            text += f" (chosen on {self.chosen_on})"
        return text

    @classmethod
    def upgraded(cls, written: object, values: dict[str, Any]) -> dict[str, Any] | None:
        """Format 1 had ``seconds`` and ``AP`` without units."""
        if written != 1:
            return None
        classes = values.get("per_class")
        if "seconds" in values:
            values["training_seconds"] = values.pop("seconds")
        if isinstance(classes, list):
            values["per_class"] = [_renamed(item, "AP", "ap_percent") for item in classes]
        return values


class TermGradient(Record):
    """The gradient of one weighted term in an epoch: means over the steps in which it was measured.

    Args:
        norm: at the student's last feature map, which all outputs come from (but earlier stages).
        share: ``norm`` over the sum of all terms' norms.
        logits_norm: at the student's logits; None for a term that does not reach them.
        weight: its weight, as the ramp and ``distill.balance`` leave it.
        risen: the fraction of the full weight that the ramp left, 0..1.
    """

    norm: float
    share: float
    logits_norm: float | None
    weight: float
    risen: float


class Epoch(Record):
    """A line of metrics.jsonl.

    Args:
        epoch: from 1.
        step: optimizer steps so far.
        lr: learning rate at its end.
        loss: mean over the epoch's steps of the weighted sum of terms.
        terms: mean weighted value by term.
        images_per_second: while training.
        seconds: that it took, without validation.
        val_map_percent: on the validation split; None where there is none.
        val_map_ema_percent: of the averaged weights; None where none are averaged.
        gradients: of every term; empty where they were not measured, as with a single term.
    """

    FORMAT: ClassVar[int] = 2

    epoch: int
    step: int
    lr: float
    loss: float
    terms: dict[str, float]
    images_per_second: float
    seconds: float
    val_map_percent: float | None = None
    val_map_ema_percent: float | None = None
    gradients: dict[str, TermGradient] = Field(default_factory=dict)

    def line(self) -> str:
        """The line, with its end."""
        return json.dumps({"format": self.FORMAT, **self.model_dump(mode="json")}) + "\n"


def read_epochs(run: Path) -> list[Epoch]:
    """One entry per epoch, in order. A killed run can leave a broken last line; a resumed one, an epoch twice.

    Raises:
        UsageError: a line in the middle is not JSON, or a key is missing; names the line.
    """
    path = run / METRICS_FILE
    if not path.is_file():
        return []
    # A damaged line is then no JSON, and is named like one that was cut off.
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    epochs: dict[int, Epoch] = {}
    for number, line in enumerate(lines, start=1):
        try:
            epoch = _epoch(line)
        except ValueError as error:
            if number == len(lines) and isinstance(error, json.JSONDecodeError):
                continue
            raise UsageError(f"{path}, line {number}: {_fault(error)}; delete that line and try again") from None
        epochs[epoch.epoch] = epoch
    return [epochs[number] for number in sorted(epochs)]


def _fault(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return faults(error)
    if isinstance(error, json.JSONDecodeError):
        return "not JSON"
    return str(error)


def _epoch(line: str) -> Epoch:
    values = json.loads(line, parse_constant=lambda _: None)
    if not isinstance(values, dict):
        raise json.JSONDecodeError("expected an object", line, 0)
    written = values.pop("format", 1)  # before formats were numbered
    if written not in (1, Epoch.FORMAT):
        raise ValueError(f"format {written!r}, this version of mlkdc reads format {Epoch.FORMAT}")
    if written == 1:
        values = _renamed(_renamed(values, "mAP", "val_map_percent"), "images_per_s", "images_per_second")
    return Epoch(**values)


def _renamed(values: Any, old: str, new: str) -> Any:
    """The mapping with one key renamed, if it is there; what is no mapping is left for the record to refuse."""
    if not isinstance(values, dict) or old not in values:
        return values
    return {new if key == old else key: value for key, value in values.items()}
