"""What a trained model is worth: its scores on a data set."""

from collections.abc import Sequence

import numpy as np

from mlkdc.data.runs import Say, scored_split, tuning_split, warn
from mlkdc.data.scoring import images_of_run
from mlkdc.metrics import summarize, tune
from mlkdc.models import MultiLabelModel, build_model, load_state
from mlkdc.records.results import Scores
from mlkdc.records.run import Run
from mlkdc.train.input.store import images_for
from mlkdc.train.predict import predict
from mlkdc.types import TaggedImages


def load_model(run: Run) -> MultiLabelModel:
    """A finished run's trained model, in eval mode on the CPU.

    It maps RGB ``float32[b, 3, s, s]`` in 0..255, s = ``run.recipe.data.image_size``, to logits ``float32[b, q]`` in
    the order of ``run.classes``.

    Raises:
        UsageError: its weights file is missing, damaged, or of another model than its recipe's.
    """
    spec = run.recipe.student.model_copy(update={"weights": "none"})
    model = build_model(spec, len(run.classes), run.recipe.data.image_size, run.recipe.data.fit)
    load_state(model, run.weights, what=str(run.weights))
    return model.eval()


def evaluate_run(run: Run, data_path: str | None = None, say: Say = warn) -> Scores:
    """Score a finished run, at the thresholds that were tuned when it was trained.

    Args:
        run: as from :func:`mlkdc.records.run.load_run`.
        data_path: images with the model's labels, or some of them: their test split if there is one, else val, else
            all; those that the run was trained on are left out. None: the run's own data.
        say: hears what has changed since the training, and what is left out.

    Returns:
        Metrics in percent, of the test split if there is one, else of val.

    Raises:
        UsageError: the data or the weights are missing or unreadable, the data has labels that the model does not
            have, no image is left that the run was not trained on, or no scored image has a label.
        MlkdcError: the model outputs NaN.
    """
    images = images_of_run(run, data_path, say)
    model, results = load_model(run), run.results
    probabilities = predict(model, images_for(model.preprocess, images.data.split(images.split)))
    thresholds = np.array(results.thresholds)
    return summarize(images.data, images.split, probabilities, thresholds, results.thresholds_from)


def score(model: MultiLabelModel, data: TaggedImages, trained: Sequence[str]) -> Scores:
    """Score a model at thresholds that are tuned here, on validation images, per class where there are enough.

    Args:
        model: on any device, in any mode.
        data: images with the model's labels.
        trained: the splits that the model was trained on, which are scored only if there is no other.
    """
    scored, tuned = scored_split(data, trained), tuning_split(data, trained)
    probabilities = predict(model, images_for(model.preprocess, data.split(scored)))
    tuning = probabilities
    if tuned != scored:
        tuning = predict(model, images_for(model.preprocess, data.split(tuned)))
    found = tune(data.targets(tuned), tuning)
    scores = summarize(data, scored, probabilities, found.thresholds, tuned)
    return scores.model_copy(update={"sharing_threshold": found.sharing})
