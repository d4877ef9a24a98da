# Running an engine takes a page of code with TensorRT alone. mlkdc[tensorrt-runtime] has it, and needs no torch.
from mlkdc import open_artifact

with open_artifact(".") as session:
    probabilities = session.predict(pixels)[0].tolist()
