"""What a model is without mlkdc's export, as artifact folders, so that the same worker times them."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlkdc.exporting.merging.merge import merge
from mlkdc.models import DecoderHead, MultiLabelModel
from mlkdc.records.manifest import describe_files
from mlkdc.runtime import Manifest
from mlkdc.train import Run

#: Each with one thing more than the one before; the last step, the folded head, is mlkdc's own onnx-fp32.
STEPS = {
    "today": "decoder of 768, nothing merged, plain torch.onnx.export",
    "small head": "decoder of 256 instead of 768",
    "merged": "branches, BatchNorms and normalization merged into convolutions",
}


class Plain(nn.Module):
    """Normalized pictures to logits: what is exported when nobody thinks about it."""

    def __init__(self, model: MultiLabelModel) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(image)).logits
        return logits


def _model(run: Run, step: str) -> nn.Module:
    model = run.model()
    if step == "merged":
        exported, _ = merge(model, model.preprocess.size)
        exported.head = copy.deepcopy(model.head)
        return exported
    if step == "today":
        # Its answers mean nothing, its time is what counts: the weights of the large head are random.
        own: Any = model.head
        model.head = DecoderHead(own.embed[0].in_features, len(run.classes), 768, 2048, 8, 0.1)
    return Plain(model).eval()


def write(run: Run, step: str, folder: Path) -> Path:
    """Export one step with a plain ``torch.onnx.export``; returns the artifact folder."""
    folder.mkdir(parents=True, exist_ok=True)
    size, labels = run.recipe.data.image_size, len(run.classes)
    program = torch.onnx.export(
        _model(run, step),
        (torch.zeros(1, 3, size, size),),
        dynamo=True,
        input_names=["image"],
        output_names=["probabilities"],
        verbose=False,
    )
    assert program is not None
    program.save(folder / "model.onnx", external_data=False)
    Manifest(
        name=run.recipe.name,
        target="onnx",
        runtime="onnxruntime",
        precision="fp32",
        files=describe_files(folder, ["model.onnx"]),
        classes=list(run.classes),
        thresholds=[0.5] * labels,
        preprocess={"size": size},
        input={"name": "image", "shape": [1, 3, size, size], "layout": "NCHW", "dtype": "float32"},
        output={"name": "probabilities", "shape": [1, labels], "dtype": "float32"},
        dynamic_batch=False,
        recipe_hash=run.recipe.hash(),
        versions={},
        created="",
        merge={},
        parity={},
        details={"step": STEPS[step]},
        quantization=None,
        status="unverified",
    ).save(folder)
    return folder
