"""What a model file says of itself, where its format has a place for it."""

import json

from mlkdc.records.preparation import Preparation
from mlkdc.records.run import Run

#: Targets whose files carry it.
EMBEDDING = ("onnx", "tensorrt", "openvino", "litert", "coreml")


def metadata(run: Run, prepared: Preparation) -> dict[str, str]:
    """Classes, thresholds and the input's contract by name, as JSON or in words.

    Args:
        run: that the model is from.
        prepared: how an image becomes the input.
    """
    return {
        "classes": json.dumps(list(run.classes), ensure_ascii=False),
        "thresholds": json.dumps(list(run.results.thresholds)),
        "decision": "a label is given when probability >= threshold",
        "input": json.dumps(prepared.model_dump(mode="json"), ensure_ascii=False),
        "output": "probabilities in the order of classes; the sigmoid is inside the model",
    }
