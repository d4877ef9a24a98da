"""What lies in benchmarks/results/losses.json. Times are of the processor, in milliseconds."""

from typing import ClassVar, Literal

from mlkdc.records.base import FileRecord, Record
from mlkdc.records.machine import Machine

#: Channels, height and width of a feature map.
MapShape = tuple[int, int, int]


class Sizes(Record):
    """How large a batch of outputs is.

    Args:
        images, labels: b and q.
        dim: d, of the embeddings.
        pooled: of the pooled features of student and teacher.
        stages: of their feature maps, finest first.
    """

    images: int = 64
    labels: int = 80
    dim: int = 768
    pooled: tuple[int, int] = (1280, 1280)
    stages: tuple[tuple[MapShape, ...], tuple[MapShape, ...]] = (
        ((8, 8, 8), (12, 4, 4)),
        ((8, 8, 8), (16, 4, 4)),
    )


class Spread(Record):
    """Median, and 10th and 90th percentile, over passes."""

    median: float
    p10: float
    p90: float
    passes: int


class LedCost(Record):
    """CD and ID together, next to the same in loops.

    Args:
        by_group_ratio, by_pair_ratio: the loop's time over ours, pass by pass.
        difference, by_group_difference: relative difference of the value from that of the loop over pairs.
        peak_bytes: of ours.
    """

    ours_ms: Spread
    by_group_ms: Spread
    by_pair_ms: Spread
    by_group_ratio: Spread
    by_pair_ratio: Spread
    difference: float
    by_group_difference: float
    peak_bytes: int


class OrdersCost(Record):
    """BD and ID of some orders (``2-4``) in one objective."""

    orders: str
    ms: Spread
    peak_bytes: int


class Enumeration(Record):
    """Orders 2 to 4 with a number of labels whose paths can be enumerated.

    Args:
        loop_ms: image by image.
        at_once_ms: all images at once, with the list of paths made before.
        difference: the largest relative difference of a term from its enumerated value.
    """

    labels: int
    paths: int
    ours_ms: Spread
    loop_ms: Spread
    at_once_ms: Spread
    at_once_peak_bytes: int
    difference: float


class Extrapolation(Record):
    """What enumeration would cost with more labels, in proportion to the number of paths."""

    labels: int
    paths: int
    loop_ms: float
    at_once_ms: float
    at_once_peak_bytes: float


class MdkdCost(Record):
    """MDKD's terms.

    Args:
        images: in a batch.
        order_6_over_4: time of order 6 alone over order 4 alone.
        orders_2_6_over_2_4: the same of orders 2 to 6 together over orders 2 to 4.
    """

    images: int
    orders: tuple[OrdersCost, ...]
    order_6_over_4: Spread
    orders_2_6_over_2_4: Spread
    enumeration: tuple[Enumeration, ...]
    extrapolated: Extrapolation

    def of_orders(self, name: str) -> OrdersCost:
        """The row of these orders."""
        return next(row for row in self.orders if row.orders == name)


class TermCost(Record):
    """One loss term by itself.

    Args:
        methods: that have it.
        largest_bytes: the largest single allocation.
        largest_fractions: its elements at other sizes, as a fraction of a tensor that must not be there, by that
            tensor's size (``b q^2``).
        has_loop: whether there is a slow loop to compare with.
        enumerates: whether that loop enumerates paths, and so is not timed.
        loop_ms: None where there is none, or it took too long.
    """

    name: str
    methods: tuple[str, ...]
    ms: Spread
    peak_bytes: int
    largest_bytes: int
    largest_fractions: dict[str, float]
    has_loop: bool
    enumerates: bool
    loop_ms: float | None


class StepCost(Record):
    """A training step of one method.

    Args:
        ratio: to vanilla's step of the same pass.
        ratio_without_teacher: the same, the teacher's outputs being known; None for methods without one.
        steps_in_an_epoch: in units of vanilla's.
        cacheable: whether all that is needed of a teacher can be kept.
        sources: what its terms compare the student with.
        source_fractions: of the step, by source, where it takes a pass.
    """

    name: str
    ms: Spread
    ratio: Spread
    ratio_without_teacher: Spread | None
    steps_in_an_epoch: float
    cacheable: bool
    sources: tuple[str, ...]
    source_fractions: dict[str, Spread]


class MskdCost(Record):
    """What a step of ``mskd`` is made of; fractions are of its step.

    Args:
        arithmetic_ms: LSD, RSD and SSD on the outputs of this training.
        arithmetic_80_labels_ms: on random outputs of 80 labels.
        vanilla_fraction: a step of vanilla.
        peak_bytes: of the arithmetic with 80 labels.
    """

    arithmetic_ms: Spread
    arithmetic_80_labels_ms: Spread
    arithmetic_fraction: Spread
    arithmetic_80_labels_fraction: Spread
    vanilla_fraction: Spread
    peak_bytes: int


class StepsCost(Record):
    """Training steps of every method, and what they were measured on."""

    rows: tuple[StepCost, ...]
    labels: int
    image_size: int
    batch_size: int
    student: str
    teacher: str
    mskd: MskdCost

    def of_method(self, name: str) -> StepCost:
        """The row of a method."""
        return next(row for row in self.rows if row.name == name)


class Promise(Record):
    """A target, and what was measured."""

    what: str
    sense: Literal["at least", "at most"]
    limit: float
    measured: float
    unit: str = ""
    met: bool


class LossesStudy(FileRecord):
    """losses.json.

    Args:
        started: when, in ISO 8601.
        positives_per_image: labels of an image, on average.
        loop_limit_seconds: after which a loop is given up.
        seconds: of the clock, for all of it.
        cpu_seconds: of the processor.
    """

    FILE: ClassVar[str] = "losses.json"
    FORMAT: ClassVar[int] = 2
    REMEDY: ClassVar[str] = "measure again with `python benchmarks/losses.py`"

    command: str
    started: str
    threads: int
    versions: dict[str, str]
    machine: Machine
    sizes: Sizes
    positives_per_image: float
    loop_limit_seconds: float
    led: LedCost
    mdkd: MdkdCost
    terms: tuple[TermCost, ...]
    steps: StepsCost
    targets: tuple[Promise, ...]
    seconds: float
    cpu_seconds: float
