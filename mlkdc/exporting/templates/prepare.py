import json
import sys

import numpy as np
from PIL import Image, ImageOps
{{ imports }}

with open("manifest.json", encoding="utf-8") as file:
    manifest = json.load(file)
image = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")
{{ square }}
pixels = np.asarray(image, dtype=np.{{ manifest.input.dtype }})[None]{% if manifest.input.layout == "NCHW" %}.transpose(0, 3, 1, 2).copy(){% endif %}  # 0..255, not normalized

{{ run }}
for name, threshold, probability in zip(manifest["classes"], manifest["thresholds"], probabilities):
    if probability >= threshold:
        print(f"{name}\t{probability:.6f}")
