"""Why weights do not fit a module, in words for error messages."""

from collections.abc import Mapping

from torch import Tensor

State = Mapping[str, Tensor]

_SHOWN_NAMES = 3


def mismatch(expected: State, state: State) -> str:
    """What keeps ``state`` from being loaded into a module.

    Args:
        expected: the module's state dict.
        state: tensors by name.

    Returns:
        A clause; empty when the weights fit.
    """
    clauses = []
    missing = _only_in(expected, state)
    if missing:
        clauses.append(f"missing {_listed(missing)}")
    unexpected = _only_in(state, expected)
    if unexpected:
        clauses.append(f"unexpected {_listed(unexpected)}")
    shape = _first_shape_mismatch(expected, state)
    if shape:
        clauses.append(shape)
    return "; ".join(clauses)


def _only_in(first: State, second: State) -> list[str]:
    names = []
    for name in first:
        # BatchNorm's step counter says nothing about the model, and some converters leave it out.
        if name not in second and not name.endswith("num_batches_tracked"):
            names.append(name)
    return names


def _listed(names: list[str]) -> str:
    text = ", ".join(names[:_SHOWN_NAMES])
    hidden = len(names) - _SHOWN_NAMES
    if hidden > 0:
        return f"{text} and {hidden} more"
    return text


def _first_shape_mismatch(expected: State, state: State) -> str:
    for name, tensor in expected.items():
        if name in state and state[name].shape != tensor.shape:
            return f"{name} is {list(state[name].shape)} where {list(tensor.shape)} was expected"
    return ""


def model_mismatch(expected: State, state: State) -> str:
    """As :func:`mismatch`, for a complete model: says whether its labels, its head or its backbone differ.

    Returns:
        A clause; empty when the weights fit.
    """
    difference = mismatch(expected, state)
    if not difference:
        return ""
    label_counts = _label_counts(expected, state)
    if label_counts:
        in_data, in_weights = label_counts
        return f"it was trained for {in_weights} labels and the data has {in_data}; they must be equal"
    part = "backbone"
    if not mismatch(_backbone_of(expected), _backbone_of(state)):
        part = "head"
    return f"its {part} is different ({difference}); use the model, width and head it was trained with"


def _label_counts(expected: State, state: State) -> tuple[int, int] | None:
    """(expected, got) where the label count is all that differs between two models.

    That is: only tensors of the head differ, only in their first dimension, and all in the same way.
    """
    if expected.keys() != state.keys():
        return None
    counts = set()
    for name, tensor in expected.items():
        shape, other = tensor.shape, state[name].shape
        if shape == other:
            continue
        if not name.startswith("head.") or len(shape) != len(other) or shape[1:] != other[1:]:
            return None
        counts.add((shape[0], other[0]))
    if len(counts) != 1:
        return None
    return counts.pop()


def _backbone_of(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if name.startswith("backbone.")}
