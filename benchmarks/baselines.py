"""What a model is without mlkdc's export, as artifact folders, so that the same worker times them."""

import copy
from datetime import datetime
from pathlib import Path

import torch
from steps import BASELINE_STEP, STEPS
from torch import Tensor, nn

from mlkdc.exporting.merging.merge import merge
from mlkdc.models import DecoderHead, MultiLabelModel, model_size
from mlkdc.records.manifest import (
    InputSpec,
    Manifest,
    MergeReport,
    OutputSpec,
    RuntimeDetails,
    describe_files,
)
from mlkdc.records.parity import Parity
from mlkdc.records.preparation import Preparation
from mlkdc.records.results import ModelSize
from mlkdc.records.run import Run
from mlkdc.train import load_model

FILE = "model.onnx"


class Plain(nn.Module):
    """Normalized images to logits: what is exported when nobody thinks about it."""

    def __init__(self, model: MultiLabelModel) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(image)).logits
        return logits


def _with_paper_head(model: MultiLabelModel, labels: int) -> MultiLabelModel:
    """The papers' decoder of 768 in place of the trained head."""
    size = model.preprocess.size
    channels = model.eval().backbone(torch.zeros(1, 3, size, size)).shape[1]
    # Its weights are random: its answers mean nothing, its time is what counts.
    model.head = DecoderHead(channels, labels, 768, 2048, 8, 0.1)
    return model


def _model(run: Run, step: str) -> tuple[nn.Module, MergeReport]:
    """What is exported, and what of it is merged."""
    model = load_model(run)
    size = model.preprocess.size
    if step == "merged":
        exported, report = merge(model, size)
        exported.head = copy.deepcopy(model.head)
        return exported, _without_head(report)
    if step == BASELINE_STEP:
        model = _with_paper_head(model, len(run.classes))
    unchanged = model_size(model, size)
    report = MergeReport(
        branches=0,
        conv_bn=0,
        normalization=False,
        head=False,
        before=unchanged,
        after=unchanged,
        max_logit_difference=0.0,
    )
    return Plain(model).eval(), report


def _without_head(report: MergeReport) -> MergeReport:
    """The same with the head as it was trained."""
    before, after = report.before, report.after
    size = ModelSize(
        params=after.params_backbone + before.params_head,
        params_backbone=after.params_backbone,
        params_head=before.params_head,
        macs=after.macs_backbone + before.macs_head,
        macs_backbone=after.macs_backbone,
        macs_head=before.macs_head,
    )
    return report.model_copy(update={"head": False, "after": size})


def write(run: Run, step: str, folder: Path) -> Path:
    """Export one of the ``STEPS`` with a plain ``torch.onnx.export``; returns the artifact folder."""
    folder.mkdir(parents=True, exist_ok=True)
    size, labels = run.recipe.data.image_size, len(run.classes)
    model, report = _model(run, step)
    program = torch.onnx.export(
        model,
        (torch.zeros(1, 3, size, size),),
        dynamo=True,
        input_names=["image"],
        output_names=["probabilities"],
        verbose=False,
    )
    assert program is not None
    program.save(folder / FILE, external_data=False)
    # A manifest is needed by the worker that times it, and says that nothing was compared.
    Manifest(
        name=run.recipe.name,
        target="onnx",
        runtime="onnxruntime",
        precision="fp32",
        files=describe_files(folder, [FILE]),
        classes=run.classes,
        thresholds=(0.5,) * labels,
        preprocess=Preparation(size=size),
        input=InputSpec(name="image", shape=(1, 3, size, size), layout="NCHW", dtype="float32"),
        output=OutputSpec(name="probabilities", shape=(1, labels)),
        dynamic_batch=False,
        recipe_hash=run.recipe.hash(),
        versions={},
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        merge=report,
        details=RuntimeDetails(),
        parity=Parity(passed=None, reason=f"not compared: {STEPS[step]}"),
        status="unverified",
    ).save(folder)
    return folder
