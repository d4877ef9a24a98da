const fs = require("fs");
const ort = require("onnxruntime-node");
const sharp = require("sharp");

async function main() {
  const manifest = JSON.parse(fs.readFileSync("manifest.json", "utf8"));
  const size = {{ prepared.size }};
  const { data } = await sharp(process.argv[2])
    .rotate() // upright, by the EXIF tag
    .resize(size, size, {{ sharp }})
    .removeAlpha()
    .toColourspace("srgb")
    .raw()
    .toBuffer({ resolveWithObject: true });
  const pixels = new {{ "Uint8Array" if manifest.input.dtype == "uint8" else "Float32Array" }}(3 * size * size);
  for (let at = 0; at < size * size; at++) {
    for (let color = 0; color < 3; color++) pixels[color * size * size + at] = data[3 * at + color]; // 0..255
  }
  const session = await ort.InferenceSession.create("model.onnx");
  const image = new ort.Tensor("{{ manifest.input.dtype }}", pixels, [1, 3, size, size]);
  const { {{ manifest.output.name }} } = await session.run({ {{ manifest.input.name }}: image });
  manifest.classes.forEach((name, label) => {
    const probability = {{ manifest.output.name }}.data[label];
    if (probability >= manifest.thresholds[label]) console.log(`${name}\t${probability.toFixed(6)}`);
  });
}

main();
