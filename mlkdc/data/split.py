"""A split for data that come without one, by the names of the images: an image that is added moves no other.

A name is hashed to a place between 0 and 1, and the place decides. So the split of one image does not depend on which
others there are, nor on their order, and two versions of a data set agree on what was never trained on.
"""

import hashlib
from dataclasses import replace

import numpy as np

from mlkdc.data.names import image_names
from mlkdc.data.splits import FEWEST as FEWEST
from mlkdc.errors import UsageError
from mlkdc.figures import counted
from mlkdc.types import TaggedImages

FRACTIONS = (0.7, 0.1, 0.2)
"""Of the images that go to train, val and test, on average."""

MADE_HERE = "made here"
"""How ``split_from`` begins where the source had no split."""

#: Of the digest; 2^64 places are enough that no two images share one.
PLACE_BYTES = 8


def split_by_name(data: TaggedImages, seed: int) -> TaggedImages:
    """The same images in train, val and test, in about the proportions of ``FRACTIONS``.

    Two exceptions to what a name alone decides: of each label, the image with the lowest place is trained on, since a
    label that training never sees cannot be learned; and val and test are never empty while train has an image to
    spare.

    Raises:
        UsageError: there are fewer than ``FEWEST`` images.
    """
    if len(data.samples) < FEWEST:
        raise UsageError(
            f"{data.root}: too few to split into train, val and test: {counted(len(data.samples), 'image')}; "
            f"give at least {FEWEST}, or say which is which: by a column 'split' in a table, else by files or folders "
            "called train and val"
        )
    places = np.array([_place(name, seed) for name in image_names(data)])
    train_end, val_end = FRACTIONS[0], FRACTIONS[0] + FRACTIONS[1]
    splits = np.select([places < train_end, places < val_end], ["train", "val"], "test")
    needed = _lowest_of_each_label(data, places)
    splits[needed] = "train"
    for name in ("test", "val"):
        _fill(splits, name, places, needed)
    samples = []
    for sample, split in zip(data.samples, splits.tolist(), strict=True):
        samples.append(replace(sample, split=split))
    percent = "/".join(f"{100 * fraction:.0f}" for fraction in FRACTIONS)
    return replace(
        data,
        samples=tuple(samples),
        split_from=f"{MADE_HERE}, as the source has none: about {percent} train/val/test by image name, seed {seed}",
    )


def _place(name: str, seed: int) -> float:
    """Between 0 and 1."""
    # File names need not be valid text.
    hashed = hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()
    place: float = int.from_bytes(hashed[:PLACE_BYTES], "big") / 256**PLACE_BYTES
    return place


def _lowest_of_each_label(data: TaggedImages, places: np.ndarray) -> np.ndarray:
    """``bool[n]``: whether no other image with one of its labels has a lower place."""
    lowest = np.ones(len(data.classes))
    for sample, place in zip(data.samples, places, strict=True):
        labels = list(sample.labels)
        lowest[labels] = np.minimum(lowest[labels], place)
    is_lowest = [bool(place in lowest[list(sample.labels)]) for sample, place in zip(data.samples, places, strict=True)]
    # An image that is listed twice has one place, and stays together.
    return np.isin(places, places[is_lowest])


def _fill(splits: np.ndarray, name: str, places: np.ndarray, needed: np.ndarray) -> None:
    """Give an empty split the image of train with the highest place, unless train needs all of its images."""
    if (splits == name).any():
        return
    spare = places[(splits == "train") & ~needed]
    if spare.size:
        splits[places == spare.max()] = name
