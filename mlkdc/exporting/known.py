"""What a run is compared and calibrated on: its data, or where that is not there the images that its folder keeps."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlkdc.data.runs import is_gone, missing_path, run_data
from mlkdc.errors import UsageError
from mlkdc.exporting.identity import check_scores, checked_answers, scored_model
from mlkdc.exporting.kept import keep_answers
from mlkdc.exporting.reference import Reference, make_reference
from mlkdc.figures import counted
from mlkdc.models import MultiLabelModel
from mlkdc.records.answers import (
    ANSWERS_FILE,
    CALIBRATION_FILE,
    CALIBRATION_REMEDY,
    KnownAnswers,
    load_calibration,
)
from mlkdc.records.parity import Calibration
from mlkdc.records.run import Run
from mlkdc.train.input.store import images_for, pixels_of
from mlkdc.types import TaggedImages

CALIBRATION_SPLIT = "train"
CALIBRATION_SEED = 0


def reference_of(run: Run, say: Callable[[str], None], moved_to: str | None = None) -> Reference:
    """Of a finished run: takes most of an export's time, and is the same for all of its artifacts.

    ``moved_to``: where the run's data is now, if it has moved.

    Raises:
        UsageError: as :class:`RunImages`, or its classes or weights are not those that were scored.
    """
    model, _ = scored_model(run)
    return RunImages(run, model, say, moved_to).reference


@dataclass(frozen=True)
class RunImages:
    """The images of a run, read when they are needed.

    Args:
        run: finished.
        model: its.
        say: hears what has changed, and where the kept images stand in.
        moved_to: where its data is now, if it has moved.

    Raises:
        UsageError: from its properties: neither the data nor kept images are there, an image cannot be read, or the
            model is not the one that was scored.
    """

    run: Run
    model: MultiLabelModel
    say: Callable[[str], None]
    moved_to: str | None = None

    @cached_property
    def uses_kept(self) -> bool:
        """Whether the data is not there and the run folder keeps images."""
        return self.moved_to is None and (self.run.path / ANSWERS_FILE).is_file() and is_gone(self.run)

    @cached_property
    def data(self) -> TaggedImages:
        """As :func:`mlkdc.data.runs.run_data`."""
        return run_data(self.run, self.say, self.moved_to)

    @cached_property
    def reference(self) -> Reference:
        """The torch model's answers, some of which are kept in the run folder."""
        run, model = self.run, self.model
        if self.uses_kept:
            return self._kept_reference()
        reference = make_reference(model, self.data, run.recipe.data.train_splits)
        check_scores(run, model, self.data, reference, self.say)
        keep_answers(run, model, reference, self.say)
        return reference

    def _kept_reference(self) -> Reference:
        known, results = KnownAnswers.load(self.run.path), self.run.results
        # Those of this machine: others round differently.
        answers = checked_answers(self.run, self.model, known)
        self.say(
            f"  {missing_path(self.run.recipe)}, the run's data, is not there: artifacts are compared on the "
            f"{counted(len(known.pixels), 'image')} that {self.run.path / ANSWERS_FILE} keeps; with the data, on more: "
            "--data PATH"
        )
        return Reference(results.thresholds_from, self.run.classes, known.targets, known.pixels, answers, kept=True)

    def calibration(self, count: int) -> tuple[np.ndarray, Calibration]:
        """``uint8[n, 3, s, s]``: images of the training split, always the same; and which they are.

        Raises:
            UsageError: there is no training image, or those kept are not the model's.
        """
        if self.uses_kept:
            pixels = load_calibration(self.run.path)[:count]
            size = self.model.preprocess.size
            if pixels.shape[1:] != (3, size, size):
                raise UsageError(
                    f"{self.run.path / CALIBRATION_FILE}: expected images of {size} px, got shape {pixels.shape}; "
                    f"{CALIBRATION_REMEDY}"
                )
            self.say(f"  int8: calibrated on the {len(pixels)} images that {self.run.path / CALIBRATION_FILE} keeps")
        else:
            pixels = self._calibration(count)
            self.say(f"  int8: calibrated on {counted(len(pixels), 'image')} of {CALIBRATION_SPLIT}")
        facts = Calibration(images=len(pixels), split=CALIBRATION_SPLIT, seed=CALIBRATION_SEED, kept=self.uses_kept)
        return pixels, facts

    def _calibration(self, count: int) -> np.ndarray:
        if CALIBRATION_SPLIT not in self.data.splits:
            raise UsageError(f"{self.data.root} has no training image to calibrate int8 on; export another precision")
        samples = self.data.split(CALIBRATION_SPLIT)
        chosen = np.random.default_rng(CALIBRATION_SEED).permutation(len(samples))[:count]
        return pixels_of(images_for(self.model.preprocess, [samples[index] for index in sorted(chosen)]))
