"""How an artifact's answers compare with the torch model's, and what was tried until they were close enough."""

from pydantic import Field

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
    """

    runtime: str
    images: int
    split: str
    tolerance: Tolerance
    map_torch_percent: float
    figures: ParityFigures | None
    batches: tuple[BatchCheck, ...] = ()
    kept: bool = False


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


class QuantizationReport(Record):
    """How an int8 artifact came about."""

    calibration: Calibration
    equalize: bool
    steps: tuple[LadderStep, ...]
