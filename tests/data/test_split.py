"""The split for data that have none: by name alone, proportions, labels that training needs, too few images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlkdc.data.split import FEWEST, FRACTIONS, split_by_name
from mlkdc.errors import UsageError
from mlkdc.types import SPLITS, Sample, TaggedImages


def unsplit(images: int, classes: int, seed: int = 0) -> TaggedImages:
    """Long-tailed labels: class k on a fraction of about 0.5 / (k + 1) of the images; some images have none."""
    rng = np.random.default_rng(seed)
    targets = rng.random((images, classes)) < 0.5 / (1 + np.arange(classes))
    samples = tuple(Sample(Path(f"x/{at}.png"), tuple(np.flatnonzero(row)), "") for at, row in enumerate(targets))
    return TaggedImages("x", Path("x/labels.csv"), "csv", tuple(f"c{at}" for at in range(classes)), samples)


def splits_of(data: TaggedImages, seed: int = 0) -> dict[str, str]:
    return {sample.image.name: sample.split for sample in split_by_name(data, seed).samples}


def test_the_proportions_are_about_those_asked_for() -> None:
    data = split_by_name(unsplit(4000, 15), seed=3)
    for split, fraction in zip(SPLITS, FRACTIONS, strict=True):
        # Four standard deviations of a binomial count.
        assert len(data.split(split)) == pytest.approx(fraction * 4000, abs=4 * 29)


def test_an_image_that_is_added_removed_or_moved_in_the_table_moves_no_other() -> None:
    data = unsplit(300, 6)
    before = splits_of(data)
    for at in range(0, 300, 7):
        fewer = replace(data, samples=data.samples[:at] + data.samples[at + 1 :])
        after = splits_of(fewer)
        assert after == {name: before[name] for name in after}
    more = replace(data, samples=(Sample(Path("x/new.png"), (0, 1), ""), *data.samples))
    assert {**before, "new.png": splits_of(more)["new.png"]} == splits_of(more)
    assert splits_of(replace(data, samples=data.samples[::-1])) == before


def test_the_split_does_not_depend_on_where_the_folder_is() -> None:
    data = unsplit(100, 3)
    moved = [replace(sample, image=Path("elsewhere") / sample.image.name) for sample in data.samples]
    other = replace(data, root=Path("elsewhere/labels.csv"), samples=tuple(moved))
    assert splits_of(other) == splits_of(data)


def test_every_label_is_trained_on() -> None:
    data = unsplit(100, 3)
    for name in (f"rare{number}.png" for number in range(20)):
        samples = (Sample(Path(f"x/{name}"), (3,), ""), *data.samples)
        assert splits_of(replace(data, classes=("a", "b", "c", "rare"), samples=samples))[name] == "train"


def test_same_seed_same_split_and_order_kept() -> None:
    data = unsplit(200, 5)
    first, again, other = split_by_name(data, 1), split_by_name(data, 1), split_by_name(data, 2)
    assert first == again
    assert first.samples != other.samples
    assert [sample.image for sample in first.samples] == [sample.image for sample in data.samples]
    assert first.split_from == (
        "made here, as the source has none: about 70/10/20 train/val/test by image name, seed 1"
    )


@pytest.mark.parametrize("classes", [1, 2, 8])
@pytest.mark.parametrize("seed", range(20))
def test_fewest_images_fill_every_split(classes: int, seed: int) -> None:
    assert split_by_name(unsplit(FEWEST, classes, seed), seed).splits == SPLITS


@pytest.mark.parametrize("seed", range(60))
def test_an_empty_split_takes_no_image_that_a_label_needs(seed: int) -> None:
    """Every second image is the only one of its label; the others are to spare."""
    data = unsplit(FEWEST, 1, seed)
    samples = []
    for at, sample in enumerate(data.samples):
        samples.append(replace(sample, labels=(at,) if at % 2 else ()))
    data = replace(data, samples=tuple(samples), classes=tuple(f"c{at}" for at in range(FEWEST)))
    split = split_by_name(data, seed)
    assert {sample.split for sample in split.samples if sample.labels} == {"train"}


def test_an_image_listed_twice_is_in_one_split() -> None:
    data = unsplit(60, 3)
    twice = split_by_name(replace(data, samples=data.samples + data.samples), 0).samples
    assert [sample.split for sample in twice[:60]] == [sample.split for sample in twice[60:]]


def test_too_few_images() -> None:
    with pytest.raises(UsageError, match=f"too few .*: 19 images; give at least {FEWEST}, or say .* a column 'split'"):
        split_by_name(unsplit(FEWEST - 1, 3), 0)
