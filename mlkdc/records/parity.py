"""How an artifact's answers compare with the torch model's, and what was tried until they were close enough."""

from pydantic import Field

from mlkdc.figures import counted, drop_range, drop_words, number
from mlkdc.records.base import Record


class Tolerance(Record):
    """How far an artifact's answers may be from the torch model's."""

    probability: float = Field(ge=0, le=1, description="largest difference of a probability")
    label_flips_percent: float = Field(ge=0, le=100, description="of the decisions (images x labels)")
    map_drop_points: float = Field(ge=0, le=100, description="drop of mAP")
    class_drop_points: float = Field(ge=0, le=100, description="drop of the worst class's average precision")


class ParityFigures(Record):
    """The differences between two sets of answers. Drops are positive where the artifact is worse.

    Args:
        map_artifact_percent: mAP of the artifact.
        map_drop_points: of mAP, with differences forgiven as rounding left out.
        worst_class: whose average precision drops most; None where no image has a label.
        worst_class_drop_points: of that class.
        worst_class_interval_points: where that drop lies on other such images, for 9 of 10 draws of as many (bootstrap
            over images); None where it was not computed. The class was chosen for its drop on these images.
        classes_judged: among how many it was sought.
        max_probability_difference: over all images and labels.
        label_flips: decisions on the other side of their threshold.
        label_flips_by_rounding: further ones, forgiven because both answers are as close as rounding.
    """

    map_artifact_percent: float
    map_drop_points: float
    worst_class: str | None
    worst_class_drop_points: float
    worst_class_interval_points: tuple[float, float] | None = None
    classes_judged: int
    max_probability_difference: float
    label_flips: int
    label_flips_by_rounding: int = 0


class BatchCheck(Record):
    """Images in batches, compared with the same images one by one.

    Args:
        runtime: that answered.
        batch: images at once.
        images: how many.
        max_difference_from_single: the largest difference of a probability from the same runtime's for single images.
    """

    runtime: str
    batch: int
    images: int
    max_difference_from_single: float


class Comparison(Record):
    """Answers of an artifact and of the torch model to the same images.

    Args:
        runtime: that answered for the artifact.
        images: how many.
        split: that they are from.
        tolerance: what was allowed.
        map_torch_percent: mAP of the torch model on them.
        figures: None where the artifact's answers were no probabilities.
        batches: of an artifact that takes any number of images at once.
        kept: whether they are those that the run folder keeps, as its data was not there.
        note: what could not be asked as well, and why; None where there is nothing to say.
    """

    runtime: str
    images: int
    split: str
    tolerance: Tolerance
    map_torch_percent: float
    figures: ParityFigures | None
    batches: tuple[BatchCheck, ...] = ()
    kept: bool = False
    note: str | None = None

    @property
    def which(self) -> str:
        """The images, in words."""
        return _which(self.images, self.split, self.kept)


class Parity(Record):
    """Whether an artifact predicts what the torch model predicts.

    Args:
        passed: None where nothing was compared.
        reason: why it did not pass, or was not compared by its own runtime; None where there is nothing to say.
        comparison: None where nothing was compared.
    """

    passed: bool | None
    reason: str | None = None
    comparison: Comparison | None = None

    @property
    def figures(self) -> ParityFigures | None:
        """Of the comparison, if there was one and the answers were finite."""
        return self.comparison.figures if self.comparison else None


class LadderStep(Record):
    """One attempt at an int8 model.

    Args:
        step: what was tried, in words.
        clip: whether outliers were left out of the ranges.
        correct_biases: whether biases make up for rounding.
        keep: modules left in floating point.
        passed: whether it was close enough.
        reason: why it was not.
        figures: None where it could not be made, or gave NaN.
    """

    step: str
    clip: bool
    correct_biases: bool
    keep: tuple[str, ...]
    passed: bool
    reason: str | None
    figures: ParityFigures | None


class Calibration(Record):
    """The images that ranges were estimated on.

    Args:
        images: how many.
        split: that they are from.
        seed: by which they were drawn.
        kept: whether they are those that the run folder keeps, as its data was not there.
    """

    images: int
    split: str
    seed: int
    kept: bool = False

    @property
    def which(self) -> str:
        """The images, in words."""
        return _which(self.images, self.split, self.kept)


def _which(images: int, split: str, kept: bool) -> str:
    text = f"{counted(images, 'image')} of the {split} split"
    return f"{text} that the run folder keeps, as the data was not there" if kept else text


def _within(drop: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return drop_words(drop)
    return f"{drop_words(drop)} ({drop_range(drop, interval)})"


class Promise(Record):
    """What an int8 artifact may lose on images that did not choose the ladder's step.

    Each half of the images compared was answered by the step that the other half alone would have chosen.

    Args:
        images: in each half.
        chosen: the step that each half would have chosen.
        figures: of all images, each answered by the step that the other half chose.
        map_drop_interval_points: where the drop of mAP lies in 9 of 10 draws of as many images.
        firm: whether all limits held, and stay above the upper ends of the drops' intervals.
        doubt: why the promise is not firm, in words.
    """

    images: tuple[int, int]
    chosen: tuple[str, str]
    figures: ParityFigures
    map_drop_interval_points: tuple[float, float]
    firm: bool
    doubt: str | None

    def sentence(self) -> str:
        """The drops with their intervals, and how sure the limits are."""
        figures = self.figures
        drops = [f"mAP {_within(figures.map_drop_points, self.map_drop_interval_points)}"]
        if figures.worst_class is not None:
            drop = _within(figures.worst_class_drop_points, figures.worst_class_interval_points)
            drops.append(f"AP of {figures.worst_class} {drop}")
        text = f"chosen on half of the images and judged on the other, both ways: {', '.join(drops)}"
        if self.firm:
            return f"{text}; the limits hold there too, which is no guarantee"
        return f"{text}; a weak promise: {self.doubt}"


class FineTuning(Record):
    """Quantization-aware fine-tuning, of which the artifact's weights are: not those that results.json scored.

    Args:
        epochs: how many the training went on.
        without: the terms that had layers of their own, which the run did not keep.
        map_percent: of the fine-tuned model in floating point.
        images, split: that it was computed on, those of the comparison.
    """

    epochs: int
    without: tuple[str, ...] = ()
    map_percent: float
    images: int
    split: str

    def sentence(self) -> str:
        """What was done, and to which accuracy."""
        without = f" without {' and '.join(self.without)}" if self.without else ""
        how_long = counted(self.epochs, "epoch")
        return (
            f"fine-tuned for int8 for {how_long}{without}, so the weights are not those that results.json scored; mAP "
            f"of the fine-tuned model in float {number(self.map_percent)} on {self.images} images of {self.split}; "
            "the thresholds are the run's, which it was judged with"
        )


class QuantizationReport(Record):
    """How an int8 artifact came about.

    Args:
        calibration: the images that ranges were estimated on.
        equalize: whether channels were evened out over layers.
        steps: all that were made.
        chosen: the one of them that the artifact is; None where an older version did not say.
        promise: of other images; None where an older version did not compute it, or no step gave probabilities.
        fine_tuning: None where the artifact has the weights that were scored.
    """

    calibration: Calibration
    equalize: bool
    steps: tuple[LadderStep, ...]
    chosen: str | None = None
    promise: Promise | None = None
    fine_tuning: FineTuning | None = None
