model = coremltools.models.MLModel("model.mlpackage")
probabilities = model.predict({"{{ manifest.input.name }}": pixels})["{{ manifest.output.name }}"][0].tolist()
