"""Whether the parts of cells are labels or words of labels: labels come back in other cells, with other labels."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

#: Of the parts of joined cells, weighted by how often they occur: so many come back in a cell with other labels.
FEW_COME_BACK = 1 / 3
HALF_COME_BACK = 1 / 2
ALL_COME_BACK = 0.9


@dataclass(frozen=True)
class Evidence:
    """What speaks for a separator.

    Args:
        kinds: number of different parts.
        combinations: number of different sets of parts.
        sizes: numbers of parts that occur.
        coming_back: fraction of the parts of joined cells that also occur in another set.
        uses_coming_back: the same, each part weighted by the number of sets it is in.
        reordered: whether one set is written in two orders.
    """

    kinds: int
    combinations: int
    sizes: frozenset[int]
    coming_back: float
    uses_coming_back: float
    reordered: bool

    def marks_join(self) -> bool:
        """Whether a mark that is rare in names joins labels."""
        return self.uses_coming_back >= HALF_COME_BACK or self.reordered

    def names(self) -> bool:
        """Whether the parts are words of one label."""
        return self.coming_back <= FEW_COME_BACK and not self.reordered

    def blanks_join(self) -> bool:
        """Whether the parts are labels: all come back, in more sets than there are labels, and in sets of all sizes."""
        if self.uses_coming_back < ALL_COME_BACK:
            return False
        return self.reordered or (self.combinations > self.kinds and len(self.sizes) > 1)


def evidence(cells: Iterable[str], split: Callable[[str], list[str]]) -> Evidence:
    """What speaks for a separator.

    Args:
        cells: each once.
        split: a cell at the separator.
    """
    sets: Counter[frozenset[str]] = Counter()
    for cell in cells:
        parts = [part.strip() for part in split(cell)]
        sets[frozenset(part for part in parts if part)] += 1
    sets_with: Counter[str] = Counter()
    for parts_of_set in sets:
        sets_with.update(parts_of_set)
    joined = {part for parts_of_set in sets if len(parts_of_set) > 1 for part in parts_of_set}
    back = [part for part in joined if sets_with[part] > 1]
    uses = sum(sets_with[part] for part in joined)
    uses_back = sum(sets_with[part] for part in back)
    return Evidence(
        kinds=len(sets_with),
        combinations=len(sets),
        sizes=frozenset(map(len, sets)),
        coming_back=len(back) / max(len(joined), 1),
        uses_coming_back=uses_back / max(uses, 1),
        reordered=any(times > 1 for times in sets.values()),
    )
