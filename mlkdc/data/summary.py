"""What is in a data set: in numbers, and in a few lines for the start of a training."""

import shlex
from collections import Counter
from collections.abc import Sequence

from mlkdc.data.check import all_problems, positives
from mlkdc.figures import counted
from mlkdc.records.data import DataSummary, LabelsPerImage
from mlkdc.types import Problem, TaggedImages

#: Problems of one kind that are shown one by one.
SHOWN_OF_A_KIND = 10
SHOWN_AT_START = 3
#: Kinds of problems that change what a training or its scores mean.
GRAVE = frozenset(
    {
        "split without labels",
        "label without a negative",
        "duplicate image across splits",
        "dark 16-bit image",
        "no val or test split",
        "no val split",
    }
)


def summary(data: TaggedImages) -> DataSummary:
    """What is in a data set."""
    images, counts = {}, {}
    for split in data.splits:
        images[split] = len(data.split(split))
        counts[split] = dict(zip(data.classes, positives(data, [split]).tolist(), strict=True))
    labels_per_image, boxes = [], 0
    for sample in data.samples:
        labels_per_image.append(len(sample.labels))
        boxes += len(sample.boxes)
    return DataSummary(
        name=data.name,
        path=str(data.root),
        layout=data.layout,
        split_from=data.split_from,
        classes=len(data.classes),
        images=images,
        labels_per_image=LabelsPerImage(
            mean=sum(labels_per_image) / len(labels_per_image), min=min(labels_per_image), max=max(labels_per_image)
        ),
        boxes=boxes,
        counts=counts,
        notes=data.notes,
    )


def headline(data: TaggedImages, problems: Sequence[Problem], options: Sequence[str] = ()) -> str:
    """One line: images by split, labels, problems; ``options`` are those of ``mlkdc data`` that read them alike."""
    per_split = ", ".join(f"{split} {len(data.split(split)):,}" for split in data.splits)
    labels = sum(len(sample.labels) for sample in data.samples) / len(data.samples)
    line = (
        f"{data.name} ({data.layout}): {counted(len(data.samples), 'image')} ({per_split}), "
        f"{counted(len(data.classes), 'label')}, {labels:.2f} per image"
    )
    if not problems:
        return f"{line}; no problems"
    command = shlex.join(["mlkdc", "data", str(data.root), *options])
    return f"{line}; {counted(len(problems), 'problem')}, listed by `{command}`"


def listed(problems: Sequence[Problem], most: int = SHOWN_OF_A_KIND) -> list[str]:
    """The problems one a line, of each kind the first ones, and how many more there are."""
    total = Counter(problem.kind for problem in problems)
    shown: Counter[str] = Counter()
    lines = []
    for problem in problems:
        shown[problem.kind] += 1
        if shown[problem.kind] <= most:
            lines.append(str(problem))
        elif shown[problem.kind] == total[problem.kind]:
            lines.append(f"{problem.kind}: {total[problem.kind] - most:,} more")
    return lines


def opening(data: TaggedImages, of_files: Sequence[Problem], options: Sequence[str] = ()) -> list[str]:
    """What a training says of its data before it begins: the headline, how the data were read, and what is worst.

    Args:
        data: all images.
        of_files: what decoding them showed.
        options: of ``mlkdc data``, for it to read them alike.
    """
    problems = all_problems(data, of_files)
    grave = [problem for problem in problems if problem in data.problems or problem.kind in GRAVE]
    return [headline(data, problems, options), *data.notes, *listed(grave, SHOWN_AT_START)]
