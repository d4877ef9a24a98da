"""Some images stay in the run folder, with which it can be exported where its data is not."""

from collections.abc import Callable, Sequence

from mlkdc.data.runs import tuning_split
from mlkdc.figures import megabytes
from mlkdc.models import MultiLabelModel
from mlkdc.recipe import Recipe
from mlkdc.records.answers import KnownAnswers, save_calibration
from mlkdc.records.run import Run
from mlkdc.spread import spread
from mlkdc.train.input.store import images_for, pixels_of
from mlkdc.train.predict import predict
from mlkdc.types import Sample, TaggedImages


def keep_images(
    run: Run, recipe: Recipe, model: MultiLabelModel, data: TaggedImages, say: Callable[[str], None]
) -> None:
    """Write ``export.keep_images`` images to compare artifacts on, and as many to calibrate int8 on.

    The former are of the split on which thresholds are tuned, with the model's answers; the latter were trained on.

    Args:
        run: the folder.
        recipe: of the run.
        model: trained, on the CPU.
        data: every image of it opens.
        say: hears how many are kept and how large they are.

    Raises:
        MlkdcError: the disk is full or not writable.
    """
    most, trained = recipe.export.keep_images, recipe.data.train_splits
    if most == 0:
        return
    split = tuning_split(data, trained)
    rows = spread(len(data.split(split)), most)
    compared = images_for(model.preprocess, _chosen(data.split(split), rows))
    known = KnownAnswers(pixels_of(compared), predict(model, compared), data.targets(split)[rows])
    samples = data.split(trained[0])
    calibrated = images_for(model.preprocess, _chosen(samples, spread(len(samples), most)))
    files = [known.save(run.path), save_calibration(run.path, pixels_of(calibrated))]
    size = megabytes(sum(file.stat().st_size for file in files), 1)
    say(
        f"kept for exports without the data: {len(compared)} images of {split} with the model's answers, "
        f"{len(calibrated)} of {trained[0]} to calibrate int8 on, {size} MB (export.keep_images)"
    )


def _chosen(samples: Sequence[Sample], rows: Sequence[int]) -> list[Sample]:
    return [samples[row] for row in rows]
