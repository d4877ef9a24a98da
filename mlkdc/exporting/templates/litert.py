runner = Interpreter(model_path="model.tflite").get_signature_runner()
probabilities = runner({{ manifest.input.name }}=pixels)["{{ manifest.output.name }}"][0].tolist()
