"""The split for data that have none: proportions per label, the seed, too few images."""

from pathlib import Path

import numpy as np
import pytest

from mlkdc.data.split import FEWEST, FRACTIONS, stratified
from mlkdc.errors import UsageError
from mlkdc.types import SPLITS, Sample, TaggedImages


def unsplit(images: int, classes: int, seed: int = 0) -> TaggedImages:
    """Long-tailed labels: class k on a fraction of about 0.5 / (k + 1) of the images; some images have none."""
    rng = np.random.default_rng(seed)
    targets = rng.random((images, classes)) < 0.5 / (1 + np.arange(classes))
    samples = tuple(Sample(Path(f"{at}.png"), tuple(np.flatnonzero(row)), "") for at, row in enumerate(targets))
    return TaggedImages("x", Path("x"), "csv", tuple(f"c{at}" for at in range(classes)), samples)


def test_every_label_is_spread_in_proportion():
    data = stratified(unsplit(1000, 15), seed=3)
    total = sum(data.targets(split).sum(0, dtype=int) for split in SPLITS)
    for split, fraction in zip(SPLITS, FRACTIONS, strict=True):
        assert len(data.split(split)) == pytest.approx(fraction * 1000, abs=25)
        counts = data.targets(split).sum(0, dtype=int)
        assert np.abs(counts - fraction * total).max() <= 2
        empty = sum(not sample.labels for sample in data.split(split))
        assert empty == pytest.approx(fraction * sum(not sample.labels for sample in data.samples), abs=2)


def test_a_rare_label_goes_to_train():
    data = unsplit(100, 3)
    samples = (Sample(Path("rare.png"), (3,), ""), *data.samples)
    for seed in range(5):
        split = stratified(TaggedImages("x", Path("x"), "csv", ("a", "b", "c", "rare"), samples), seed)
        assert split.samples[0].split == "train"


def test_same_seed_same_split_and_order_kept():
    data = unsplit(200, 5)
    first, again, other = stratified(data, 1), stratified(data, 1), stratified(data, 2)
    assert first == again
    assert first.samples != other.samples
    assert [sample.image for sample in first.samples] == [sample.image for sample in data.samples]
    assert first.split_from == (
        "made here, as the source has none: iterative-stratified 70/10/20 train/val/test, seed 1"
    )


@pytest.mark.parametrize("classes", [1, 2, 8])
@pytest.mark.parametrize("seed", range(4))
def test_fewest_images_fill_every_split(classes: int, seed: int):
    assert stratified(unsplit(FEWEST, classes, seed), seed).splits == SPLITS


def test_too_few_images():
    with pytest.raises(UsageError, match=f"19 images are too few .* at least {FEWEST}, or a column 'split'"):
        stratified(unsplit(FEWEST - 1, 3), 0)
