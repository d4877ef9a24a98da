"""students.json: students on two sets of real photos, with and without a teacher."""

from pydantic import Field
from study_records import RowsStudy, StudyData
from typing_extensions import Self

from mlkdc.losses import make_objective
from mlkdc.methods import load_method
from mlkdc.recipe import Form
from mlkdc.records.base import Record
from mlkdc.records.machine import Machine
from mlkdc.records.results import ModelFacts
from mlkdc.records.run import Run

#: What names a row: data set, student, image size in pixels, what was done, epochs, seed.
Key = tuple[str, str, int, str, int, int]


class StudentRow(Record):
    """One training.

    Args:
        photos: name of the data set.
        student: name of the backbone.
        image_size: its input in pixels, width and height.
        row: what was done: a method, or a change of one setting.
        epochs: over the training images.
        command: that trained it.
        map_percent: on the validation images, which everything was chosen on.
        class_ap_percent: on the same, by label.
        val_map_percent: after each epoch; empty where it was not measured.
        training_seconds: of the student alone, with another training next to it; None where it was not measured.
        terms, form: of the objective; empty and None for the baseline, which is not mlkdc's.
        shares: of the gradient at the last feature map by term, means over the epochs.
        teacher_map_percent: on the same images; None without a teacher.
        model, data: None for the baseline.
    """

    photos: str
    student: str
    image_size: int
    row: str
    epochs: int
    seed: int
    command: str
    map_percent: float
    class_ap_percent: dict[str, float] = Field(default_factory=dict)
    val_map_percent: tuple[float | None, ...] = ()
    training_seconds: float | None = None
    terms: dict[str, float] = Field(default_factory=dict)
    form: Form | None = None
    shares: dict[str, float] = Field(default_factory=dict)
    teacher_map_percent: float | None = None
    model: ModelFacts | None = None
    data: StudyData | None = None
    versions: dict[str, str]
    machine: Machine

    @property
    def key(self) -> Key:
        """What names the row."""
        return self.photos, self.student, self.image_size, self.row, self.epochs, self.seed

    @classmethod
    def of(cls, photos: str, row: str, run: Run, command: str) -> Self:
        """Of a finished run; ``command`` without this machine's paths."""
        results, recipe = run.results, run.recipe
        teacher_map_percent = None
        if results.teacher is not None:
            teacher_map_percent = results.teacher.map_percent_on(results.scored_on)
        class_ap_percent = {}
        for score in results.per_class:
            if score.ap_percent is not None:
                class_ap_percent[score.name] = score.ap_percent
        return cls(
            photos=photos,
            student=results.model.model,
            image_size=results.model.image_size,
            row=row,
            epochs=recipe.train.epochs,
            seed=results.seed,
            command=command,
            map_percent=results.map_percent,
            class_ap_percent=class_ap_percent,
            val_map_percent=tuple(epoch.val_map_percent for epoch in run.epochs),
            training_seconds=results.training_seconds,
            terms=make_objective(recipe.distill).weights,
            form=recipe.distill.form or load_method(recipe.distill.method).form,
            shares=mean_shares(run),
            teacher_map_percent=teacher_map_percent,
            model=results.model,
            data=StudyData.of(results.data),
            versions=results.versions,
            machine=results.machine,
        )


def mean_shares(run: Run) -> dict[str, float]:
    """Each term's share of the gradient, mean over the epochs; empty where there is one term only."""
    epochs = [epoch.gradients for epoch in run.epochs if epoch.gradients]
    shares = {}
    for name in run.epochs[-1].gradients:
        shares[name] = sum(gradients[name].share for gradients in epochs) / len(epochs)
    return shares


class StudentsStudy(RowsStudy):
    """students.json."""

    rows: tuple[StudentRow, ...] = ()
