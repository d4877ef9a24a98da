"""Which loss terms hardly move the student, or leave the labels hardly anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlkdc.records.results import Epoch

#: A term whose gradient is a smaller fraction of the base loss's has hardly any effect.
WEAK = 0.01
#: A term whose gradient is a larger multiple of the base loss's leaves the labels hardly any.
STRONG = 10.0


@dataclass(frozen=True)
class Imbalance:
    """A term whose gradient is far from the base loss's in size.

    Args:
        term: its name.
        base: name of the base loss.
        ratio: of the norms, at the term's full weight.
    """

    term: str
    base: str
    ratio: float

    def sentence(self) -> str:
        """What it is and what to do, without a period at its end."""
        if self.ratio == 0:
            return f"{self.term} has no gradient at the last feature map: it does not move the student's backbone"
        effect = "the labels hardly move the student"
        if self.ratio < WEAK:
            effect = "it hardly moves the student"
        return (
            f"the gradient of {self.term} is {self.ratio:.2g} times that of {self.base} at the last feature map, "
            f"so {effect}: give it a share with `--set distill.balance.{self.term}=0.3`"
        )


def imbalances(history: Sequence[Epoch], base: str, held: Mapping[str, float]) -> list[Imbalance]:
    """The terms that hardly move the student, or hardly leave the labels anything, in the first epoch measured.

    Args:
        history: of a training.
        base: name of the loss of the labels; where it is not among the terms, there is nothing to compare with.
        held: terms whose shares are held, which are as they were wanted where there is any gradient.
    """
    found = []
    judged = {base}
    for epoch in history:
        reference = epoch.gradients.get(base)
        if reference is None or reference.norm == 0:
            continue
        for name, gradient in epoch.gradients.items():
            # A term that the ramp still holds back at 0 is judged in a later epoch.
            if name in judged or gradient.risen == 0:
                continue
            judged.add(name)
            ratio = gradient.norm / gradient.risen / reference.norm
            if ratio == 0 or (name not in held and not WEAK <= ratio <= STRONG):
                found.append(Imbalance(name, base, ratio))
    return found
