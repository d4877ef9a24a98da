"""Names of tensors as other programs write them: prefixes of wrappers, and the RepVGG authors' names."""

import re

from mlkdc.models.mismatch import State

#: What wrappers of a module put before its names: DataParallel, torch.compile, Lightning and other trainers.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.", "student.")

#: Expected names by which a prefix is looked for: enough that one of them is not a name within a block too.
_ANCHORS = 4


def without_prefix(state: State, expected: State) -> State:
    """The tensors of the model that a module is part of, by the module's own names.

    Args:
        state: tensors by name.
        expected: the module's state dict.

    Returns:
        ``state`` itself where most of the expected names are there as they are, or nothing is found; else the tensors
        under the prefix behind which most of them are found, without it.
    """
    candidates = {""}
    for anchor in list(expected)[:_ANCHORS]:
        for name in state:
            if name.endswith(f".{anchor}"):
                candidates.add(name.removesuffix(anchor))
    found = {prefix: sum(prefix + name in state for name in expected) for prefix in candidates}
    most = max(found.values())
    if not most:
        return _without_wrappers(state)
    best = [prefix for prefix, count in found.items() if count == most]
    if "" in best:
        return state
    # A file of two models, such as a student and its teacher: a wrapper's prefix is the better known.
    if len(best) > 1:
        best = [prefix for prefix in PREFIXES if prefix in best]
    if not best:
        return state
    return {name.removeprefix(best[0]): tensor for name, tensor in state.items() if name.startswith(best[0])}


def _without_wrappers(state: State) -> State:
    """Where names are another library's: without what all of them begin with, if that is a wrapper's."""
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            return _without_wrappers({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    return state


_REPVGG = (
    (r"^stage0\.", "stem."),
    (r"\.rbr_dense\.", ".conv_kxk."),
    (r"\.rbr_1x1\.", ".conv_1x1."),
    (r"\.rbr_identity\.", ".identity."),
    (r"^linear\.", "head.fc."),
)


def from_repvgg(state: State) -> State:
    """Under timm's names, if they are those of the RepVGG authors' release (github.com/DingXiaoH/RepVGG)."""
    if not any(".rbr_dense." in name for name in state):
        return state
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in _REPVGG:
            name = re.sub(pattern, replacement, name)
        # Their first of four stages is stage1, timm's stages.0.
        name = re.sub(r"^stage(\d)\.", lambda match: f"stages.{int(match[1]) - 1}.", name)
        renamed[name] = tensor
    return renamed
