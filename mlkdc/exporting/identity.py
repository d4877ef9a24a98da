"""Is the model that is exported the one that was scored? Its weights file says so, and its answers."""

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.exporting.parity import map_percent
from mlkdc.exporting.reference import Reference
from mlkdc.figures import number
from mlkdc.models import MultiLabelModel
from mlkdc.records.answers import ANSWERS_FILE, REMEDY, KnownAnswers
from mlkdc.records.run import Run
from mlkdc.resources import file_sha256
from mlkdc.train.input.store import images_for
from mlkdc.train.predict import predict, predict_pixels
from mlkdc.types import TaggedImages

# Other machines, threads and precisions round differently, which moves an mAP by hundredths of a point.
SAME_MAP_POINTS = 0.2
# The same of one probability; a model trained on a GPU in half precision answers a little differently here.
SAME_PROBABILITY = 0.01
# The weights file alone identifies the model where there are more images than this.
MOST_IMAGES = 4096


def check_weights(run: Run) -> str:
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
    size, classes = model.preprocess.size, len(run.classes)
    path = run.path / ANSWERS_FILE
    if known.pixels.shape[1:] != (3, size, size) or known.probabilities.shape[1] != classes:
        raise UsageError(f"{path} is not of the model in {run.path}; {REMEDY}")
    answers = predict_pixels(model, known.pixels)
    difference = float(np.abs(answers - known.probabilities).max(initial=0))
    if difference > SAME_PROBABILITY:
        raise UsageError(
            f"the model in {run.path} does not give the answers in {path} (a probability differs by {difference:.2g}): "
            "its weights or that file were replaced; copy the complete run folder"
        )
    return answers


def check_scores(run: Run, model: MultiLabelModel, data: TaggedImages, reference: Reference) -> None:
    """Let the model answer the images it was scored on, unless they are many and its weights file is known.

    Raises:
        UsageError: its mAP is not that of results.json.
    """
    results = run.results
    split = results.scored_on
    samples = data.split(split)
    if not samples or (len(samples) > MOST_IMAGES and results.weights_sha256 is not None):
        return
    targets, probabilities = data.targets(split), reference.probabilities
    if (reference.split, len(reference.targets)) != (split, len(samples)):
        probabilities = predict(model, images_for(model.preprocess, samples))
    actual = map_percent(targets, probabilities)
    if abs(actual - results.map_percent) > SAME_MAP_POINTS:
        raise UsageError(
            f"the model in {run.path} has mAP {number(actual)} on {split}, results.json says "
            f"{number(results.map_percent)}: its weights or its images are not those that were scored; put them back, "
            "or train again"
        )
