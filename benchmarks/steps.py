"""From what is exported without mlkdc to mlkdc's fp32 artifact, one optimization at a time."""

#: What gains are measured against.
BASELINE_STEP = "baseline"
#: Each with one optimization more than the one before; the last step, the folded head, is mlkdc's onnx-fp32.
STEPS = {
    BASELINE_STEP: "decoder of 768, nothing merged, plain torch.onnx.export",
    "small head": "the trained head instead of the decoder of 768",
    "merged": "branches, BatchNorms and normalization merged into convolutions",
}
