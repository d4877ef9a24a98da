"""What is in a data set, in numbers: the output of ``mlkdc data --json``."""

from mlkdc.records.base import Record


class LabelsPerImage(Record):
    """How many labels an image has, over all images of a data set."""

    mean: float
    min: int
    max: int


class DataSummary(Record):
    """The size of a data set.

    Args:
        name: short name, e.g. the folder's.
        path: the folder or file that was read.
        layout: name of the reader.
        split_from: ``official``, or a sentence saying how the split was made.
        classes: number of labels.
        images: number of images by split.
        labels_per_image: over all splits.
        boxes: number of objects' boxes, over all splits.
        counts: number of images by split, then by label.
        notes: how what could be meant in several ways was read.
    """

    name: str
    path: str
    layout: str
    split_from: str
    classes: int
    images: dict[str, int]
    labels_per_image: LabelsPerImage
    boxes: int
    counts: dict[str, dict[str, int]]
    notes: tuple[str, ...] = ()
