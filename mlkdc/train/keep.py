"""Which weights a training ends with: the last or the best epoch's, as they are or averaged over the steps."""

from dataclasses import asdict, dataclass
from typing import Any

from timm.utils.model_ema import ModelEmaV3
from torch import Tensor

from mlkdc.models import MultiLabelModel
from mlkdc.recipe import Train


@dataclass(frozen=True)
class Kept:
    """Weights that were chosen.

    Args:
        epoch: after which, from 1; 0 before the first one has ended.
        average: whether they are the moving average.
        val_map_percent: what they score on the validation images; None where there are none.
    """

    epoch: int = 0
    average: bool = False
    val_map_percent: float | None = None


class Keeper:
    """Averages the weights of a training, and chooses among them by their mAP on the validation images.

    Without such images nothing can be chosen: the last weights are kept, not averaged.

    Args:
        model: in training, on its device.
        spec: ``ema`` and ``keep``.
        validated: whether there are validation images.
    """

    def __init__(self, model: MultiLabelModel, spec: Train, validated: bool) -> None:
        self.model = model
        self.keeps_best = spec.keep == "best" and validated
        asked = spec.keep == "best" or spec.ema > 0
        self.chooses, self.lacks_images = asked and validated, asked and not validated
        self.average: ModelEmaV3 | None = None
        if spec.ema and validated:
            # Running statistics are averaged too. In step t the decay is at most 1 - t^(-2/3): the average forgets
            # the initial weights at once, and spans a part of a short run, not all of it.
            self.average = ModelEmaV3(model, decay=spec.ema, use_warmup=True)
        self.kept = Kept()
        # Of an earlier epoch; empty while the kept weights are the model's own or the average.
        self.best: dict[str, Tensor] = {}

    def updated(self, step: int) -> None:
        """Hears of each update of the weights; ``step`` counts from 1."""
        if self.average is not None:
            self.average.update(self.model, step)

    @property
    def averaged(self) -> MultiLabelModel | None:
        """The model with averaged weights; None where none are averaged."""
        if self.average is None:
            return None
        model: MultiLabelModel = self.average.module
        return model

    def end_of_epoch(self, epoch: int, own: float | None, averaged: float | None) -> None:
        """Choose after an epoch, numbered from 1.

        Args:
            epoch: that has ended.
            own: mAP in percent of the model's own weights on the validation images; None where there are none.
            averaged: of the averaged weights; None where there are none.
        """
        offered = Kept(epoch, average=False, val_map_percent=own)
        if own is not None and averaged is not None and averaged > own:
            offered = Kept(epoch, average=True, val_map_percent=averaged)
        if not self.keeps_best:
            self.kept = offered
        elif _is_better(offered, self.kept):
            self.kept = offered
            self.best = {name: tensor.clone() for name, tensor in self._weights().items()}

    def _weights(self) -> dict[str, Tensor]:
        """The kept ones, of the epoch that has just ended."""
        if self.kept.average:
            assert self.averaged is not None
            return self.averaged.state_dict()
        return self.model.state_dict()

    def install(self) -> Kept:
        """Put the kept weights into the model; says which they are."""
        self.model.load_state_dict(self.best or self._weights())
        return self.kept

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        average: dict[str, Tensor] = {}
        if self.averaged is not None:
            average = self.averaged.state_dict()
        return {"kept": asdict(self.kept), "best": self.best, "average": average}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` returned."""
        self.kept = Kept(**state["kept"])
        self.best = state["best"]
        if self.averaged is not None:
            self.averaged.load_state_dict(state["average"])


def _is_better(offered: Kept, kept: Kept) -> bool:
    """Of two with the same score the earlier one is kept."""
    if kept.val_map_percent is None:
        return True
    assert offered.val_map_percent is not None
    return offered.val_map_percent > kept.val_map_percent
