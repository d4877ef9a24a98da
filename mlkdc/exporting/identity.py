"""Is the model that is exported the one that was scored? Its files say so, and its answers."""

from collections.abc import Callable, Sequence
from itertools import zip_longest

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.exporting.parity import map_percent
from mlkdc.exporting.reference import Reference
from mlkdc.figures import counted, number
from mlkdc.models import MultiLabelModel
from mlkdc.records.answers import ANSWERS_FILE, REMEDY, KnownAnswers
from mlkdc.records.run import CLASSES_FILE, Run
from mlkdc.resources import file_sha256
from mlkdc.spread import spread
from mlkdc.train import load_model
from mlkdc.train.allocator import keep_memory
from mlkdc.train.input.store import images_for
from mlkdc.train.predict import predict, predict_pixels
from mlkdc.types import Sample, TaggedImages

# Other machines, threads and precisions round differently, which moves an mAP by hundredths of a point.
SAME_MAP_POINTS = 0.2
# The same of one probability; a model trained on a GPU in half precision answers a little differently here.
SAME_PROBABILITY = 0.01
# Of a larger split so many images are answered, evenly spread over it.
MOST_IMAGES = 4096
# On a part of a split the AP of a class with so many positives is off by a few points by chance, and the mean over
# such classes by less; other classes or labels move it by tens.
SUBSET_POSITIVES = 50
SUBSET_MAP_POINTS = 10.0


def scored_model(run: Run) -> tuple[MultiLabelModel, str]:
    """The run's model, ready to answer many images, and its weights' SHA-256.

    Raises:
        UsageError: the names of the outputs or the weights are not those that were scored.
    """
    _check_classes(run)
    sha256 = _check_weights(run)
    # Half of what answers and simulations take would be page faults.
    keep_memory()
    return load_model(run), sha256


def _check_classes(run: Run) -> None:
    """The outputs' names are those that were scored.

    Raises:
        UsageError: classes.txt has other names than results.json, or another order.
    """
    scored = [item.name for item in run.results.per_class]
    for line, (name, expected) in enumerate(zip_longest(run.classes, scored), start=1):
        if name != expected:
            raise UsageError(
                f"{run.path / CLASSES_FILE} does not name the model's outputs as results.json does: expected "
                f"{_quoted(expected)} in line {line}, got {_quoted(name)}; copy the complete run folder"
            )


def _quoted(name: str | None) -> str:
    return "nothing" if name is None else f'"{name}"'


def _check_weights(run: Run) -> str:
    """The SHA-256 of the run's weights file.

    Raises:
        UsageError: it is not the file that was scored.
    """
    actual, recorded = file_sha256(run.weights), run.results.weights_sha256
    if recorded is not None and actual != recorded:
        raise UsageError(
            f"{run.weights} is not the model that results.json scored (its SHA-256 is {actual[:12]}..., recorded was "
            f"{recorded[:12]}...); put the scored file back, or train again"
        )
    return actual


def checked_answers(run: Run, model: MultiLabelModel, known: KnownAnswers) -> np.ndarray:
    """The model's probabilities ``float32[n, q]`` for the images that the run folder keeps.

    Raises:
        UsageError: its answers are not the kept ones, or they are of other classes or another size.
    """
    path = run.path / ANSWERS_FILE
    if not known.is_of(model.preprocess.size, len(run.classes)):
        raise UsageError(f"{path} is not of the model in {run.path}; {REMEDY}")
    answers = predict_pixels(model, known.pixels)
    difference = float(np.abs(answers - known.probabilities).max(initial=0))
    if not difference <= SAME_PROBABILITY:  # nor where one is NaN
        raise UsageError(
            f"the model in {run.path} does not give the answers in {path} (a probability differs by {difference:.2g}): "
            "its weights or that file were replaced; copy the complete run folder"
        )
    return answers


def check_scores(
    run: Run, model: MultiLabelModel, data: TaggedImages, reference: Reference, say: Callable[[str], None]
) -> None:
    """Let the model answer the images it was scored on, or some where they are many and its weights file is known.

    Raises:
        UsageError: its mAP is not that of results.json.
    """
    results, split = run.results, run.results.scored_on
    samples, targets = data.split(split), data.targets(split)
    if not samples:
        say(f"  {data.root} has no image of {split}, which results.json scored: the model's mAP there was not checked")
        return
    if len(samples) > MOST_IMAGES and results.weights_sha256 is not None:
        _check_some(run, model, samples, targets)
        return
    probabilities = reference.probabilities
    if (reference.split, len(reference.targets)) != (split, len(samples)):
        probabilities = predict(model, images_for(model.preprocess, samples))
    actual = map_percent(targets, probabilities)
    if abs(actual - results.map_percent) > SAME_MAP_POINTS:
        raise _other_scores(run, actual, results.map_percent, split)


def _check_some(run: Run, model: MultiLabelModel, samples: Sequence[Sample], targets: np.ndarray) -> None:
    """As :func:`check_scores`, on a part of the split and the classes that are frequent in it."""
    rows = spread(len(samples), MOST_IMAGES)
    targets = targets[rows]
    frequent = np.flatnonzero(targets.sum(0) >= SUBSET_POSITIVES)
    if not frequent.size:
        return
    probabilities = predict(model, images_for(model.preprocess, [samples[row] for row in rows]))
    actual = map_percent(targets[:, frequent], probabilities[:, frequent])
    recorded = [run.results.per_class[column].ap_percent or 0.0 for column in frequent]
    expected = sum(recorded) / len(recorded)
    if abs(actual - expected) > SUBSET_MAP_POINTS:
        which = (
            f"{counted(len(rows), 'image')} of {run.results.scored_on}, over {counted(len(recorded), 'frequent class')}"
        )
        raise _other_scores(run, actual, expected, which)


def _other_scores(run: Run, actual: float, expected: float, which: str) -> UsageError:
    return UsageError(
        f"the model in {run.path} has mAP {number(actual)} on {which}, results.json says {number(expected)}: its "
        "weights or its images are not those that were scored; put them back, or train again"
    )
