session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
probabilities = session.run(["{{ manifest.output.name }}"], {"{{ manifest.input.name }}": pixels})[0][0].tolist()
