# Without the hint, processors with bfloat16 units would answer less exactly.
model = openvino.Core().compile_model("model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
probabilities = model(pixels)[0][0].tolist()
