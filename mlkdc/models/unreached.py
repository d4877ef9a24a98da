"""The layers of a network that its feature map does without: those of a classifier, between the map and its answer."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def graph_alone() -> Iterator[None]:
    """Within it, a pass records which parameters its output comes from, but keeps no tensor for a backward pass."""
    nothing = torch.empty(0)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(lambda _: nothing, lambda kept: kept):
        yield


def drop_unreached(body: nn.Module, output: Tensor) -> frozenset[str]:
    """Replace the layers that no gradient reaches by identities; nothing is drawn and no output changes.

    Left in, they would be counted and saved, and several processes would wait for their gradients.

    Args:
        body: a network, of which every parameter takes a gradient but those that are constants.
        output: of a pass through it, within :func:`graph_alone`.

    Returns:
        The names of the tensors that the state dict has no more.
    """
    reached = _parameters_behind(output)
    if not reached:
        return frozenset()
    before = body.state_dict().keys()
    _drop(body, reached)
    return frozenset(before - body.state_dict().keys())


def _parameters_behind(output: Tensor) -> set[int]:
    """The ids of all parameters that a tensor was computed from."""
    found, seen, waiting = set(), set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        # Only the ends of the graph have one.
        if (parameter := getattr(node, "variable", None)) is not None:
            found.add(id(parameter))
        waiting += [before for before, _ in node.next_functions]
    return found


def _drop(module: nn.Module, reached: set[int]) -> None:
    for name, child in module.named_children():
        # By gradient and not by call: some layers' weights are used without the layer.
        unreached = all(parameter.requires_grad and id(parameter) not in reached for parameter in child.parameters())
        # A layer, not what holds several: whoever looks for one in there finds it.
        if unreached and any(True for _ in child.parameters(recurse=False)):
            setattr(module, name, nn.Identity())
        else:
            _drop(child, reached)
