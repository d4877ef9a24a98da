"""The words that people have for train, val and test."""

import re
from pathlib import Path

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

UNSPLIT = ""
"""The ``split`` of samples whose source has no official split; :func:`mlkdc.data.open_data` then makes one."""

FEWEST = 20
"""Fewer images than this would give a val split of one image or none."""

#: Columns that say of each row whether it is in one split, by their names without case and underscores; the splits of
#: rows where that is true and where it is false.
SPLIT_FLAGS = {
    **dict.fromkeys(("isvalid", "isval", "isvalidation"), ("val", "train")),
    "istest": ("test", "train"),
    "istrain": ("train", "test"),
}


def split_of_name(path: Path) -> str | None:
    """The split that a file's or folder's name says, as ``train_labels.csv``; None where none or more than one."""
    words = re.split(r"[^a-z]+", path.stem.lower())
    splits = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    if len(splits) != 1:
        return None
    return splits.pop()


def split_alone(name: str | None, images: int) -> str:
    """The split of the images of a file that is the only one, whatever its name: one is made here.

    Except that too few to be split are trained on where the name says so.

    Args:
        name: the split that the file's name says, if any.
        images: how many there are.
    """
    if name == "train" and images < FEWEST:
        return name
    return UNSPLIT
