"""What a model file says of itself, where its format has a place for it."""

import json
from collections.abc import Sequence

from mlkdc.records.preparation import Preparation

#: Targets whose files carry it; of TensorRT, the graph next to the engine.
EMBEDDING = ("onnx", "tensorrt", "openvino", "litert", "executorch", "coreml")


def metadata(
    classes: Sequence[str], thresholds: Sequence[float], prepared: Preparation, names: tuple[str, str]
) -> dict[str, str]:
    """Classes, thresholds and the input's contract by name, as JSON or in words.

    Args:
        classes: ``q`` label names, in the order of the outputs.
        thresholds: one per class, in 0..1.
        prepared: how an image becomes the input.
        names: of the graph's input and output.
    """
    return {
        "classes": json.dumps(list(classes), ensure_ascii=False),
        "thresholds": json.dumps(list(thresholds)),
        "decision": "a label is given when probability >= threshold",
        "input": json.dumps(prepared.model_dump(mode="json"), ensure_ascii=False),
        "names": json.dumps(dict(zip(("input", "output"), names, strict=True))),
        "output": "probabilities in the order of classes; the sigmoid is inside the model",
    }
