"""What really runs in one forward pass, operator by operator.

Module names say nothing reliable about what runs after what: a module may be held in another order than it is called,
called twice, or not at all. So pairs of layers are read off the operators that run (a dispatch mode sees every one of
them, with the very tensors it takes), and whatever is not seen to be safe is left as it is.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_aten = torch.ops.aten
CONVOLUTION = _aten.convolution.default
BATCH_NORM = _aten.native_batch_norm.default


class Call(NamedTuple):
    """One operator that ran. Of ``output``, operators with several results give a tuple."""

    operator: object
    arguments: Sequence[object]
    output: object


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every operator of the forwards run inside, and how many operators take each tensor.

    Tensors are distinguished by ``id``; they are kept alive, so that none is given to a later tensor.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self.uses: Counter[int] = Counter()

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                self.uses[id(leaf)] += 1
        self.calls.append(Call(func, args, output))
        return output

    def of(self, operator: object) -> Iterator[Call]:
        """The calls of one operator, in order."""
        for call in self.calls:
            if call.operator is operator:
                yield call

    def once(self, *tensors: object) -> bool:
        """Whether each tensor is taken by exactly one operator."""
        return all(self.uses[id(tensor)] == 1 for tensor in tensors)


def trace_of(model: nn.Module, image: Tensor) -> Trace:
    """Watch one forward pass."""
    trace = Trace()
    with torch.no_grad(), trace:
        model(image)
    return trace


def convolutions(model: nn.Module, trace: Trace) -> dict[int, nn.Conv2d]:
    """By the id of a weight: the convolution that owns it, where that weight is used as it is, and once."""
    by_weight = {}
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and trace.once(module.weight):
            by_weight[id(module.weight)] = module
    return by_weight


@dataclass(frozen=True)
class Tally:
    """What runs in one forward pass; how many parallel branches there were is the difference after merging.

    Args:
        branches: convolutions, and BatchNorms on feature maps that no convolution made (RepVGG's identity branch).
        norms: BatchNorms.
    """

    branches: int
    norms: int


def tally(model: nn.Module, image: Tensor) -> Tally:
    """Count what runs in ``model(image)``."""
    trace = trace_of(model, image)
    convolved = {id(call.output) for call in trace.of(CONVOLUTION)}
    norms = identity_branches = 0
    for call in trace.of(BATCH_NORM):
        features = call.arguments[0]
        norms += 1
        if isinstance(features, Tensor) and features.ndim == 4 and id(features) not in convolved:
            identity_branches += 1
    return Tally(len(convolved) + identity_branches, norms)
