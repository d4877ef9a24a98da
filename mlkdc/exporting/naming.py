"""Nodes of an ONNX graph named after the torch modules they came from.

A module's name is the common language of exporters and quantizers: layers that stay in floating point are named as in
torch, and nodes must be found by that name after others were fused into them.
"""

import ast
from typing import Any

SEPARATOR = "/"
_SCOPES = "pkg.torch.onnx.name_scopes"


def module_of(node: str) -> str:
    """The dotted torch module that a node came from, by the node's name: ``head.ffn.0`` of ``head.ffn.0/linear``."""
    return node.rpartition(SEPARATOR)[0]


def name_by_module(graph: Any) -> None:
    """Put the module in front of the name of each node and of its outputs, in place.

    Outputs too, because a node that is fused later is named after what it gives.

    Args:
        graph: ``ModelProto`` of torch's exporter.
    """
    fixed = {value.name for value in graph.graph.output}
    renamed: dict[str, str] = {}
    for node in graph.graph.node:
        prefix = f"{_scope(node)}{SEPARATOR}"
        node.name = prefix + node.name
        for name in node.output:
            if name and name not in fixed:
                renamed[name] = prefix + name
    for node in graph.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for value in graph.graph.value_info:
        value.name = renamed.get(value.name, value.name)


def _scope(node: Any) -> str:
    """The innermost module that torch's exporter recorded for a node; empty outside of all modules."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            *modules, _ = ast.literal_eval(entry.value)
            if modules:
                return str(modules[-1])
    return ""
