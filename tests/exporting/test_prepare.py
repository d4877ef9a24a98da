"""Images as people have them, prepared by a README's code: the pixels that the model was trained and scored on."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import phone
import pytest
from image_files import display_p3, noise
from PIL import Image

from mlkdc.exporting.readme import snippets
from mlkdc.images import BORDER, load_square, square
from mlkdc.records.preparation import RESIZE

SIZE = phone.SIZE
FITS = tuple(RESIZE)


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(270, 150)).save(path, exif=exif, quality=95)


def with_a_transparent_color(path):
    Image.fromarray(noise(270, 150)).quantize(16).save(path, transparency=0)


IMAGES = {
    "wide.png": lambda path: Image.fromarray(noise(900, 210)).save(path),
    "tall.jpg": lambda path: Image.fromarray(noise(120, 720)).save(path, quality=95),
    "large.jpg": lambda path: Image.fromarray(noise(1600, 1200)).save(path, quality=95),
    "lying.jpg": turned,
    "gray.png": lambda path: Image.fromarray(noise(270, 150)[..., 0]).save(path),
    "transparent.png": lambda path: Image.fromarray(noise(270, 150, 4)).save(path),
    "gray-transparent.png": lambda path: Image.fromarray(noise(270, 150, 4)).convert("LA").save(path),
    "palette.png": with_a_transparent_color,
    "16-bits.png": lambda path: Image.fromarray(noise(270, 150)[..., 0].astype(np.uint16) * 257).save(path),
    "p3.png": lambda path: Image.fromarray(noise(270, 150)).save(path, icc_profile=display_p3()),
    "p3.jpg": lambda path: Image.fromarray(noise(270, 150)).save(path, icc_profile=display_p3(), quality=95),
    "cmyk.jpg": lambda path: Image.fromarray(noise(270, 150, 4), "CMYK").save(path, quality=95),
    "cmyk.tif": lambda path: Image.fromarray(noise(270, 150, 4), "CMYK").save(path),
    "modern.webp": lambda path: Image.fromarray(noise(270, 150)).save(path, lossless=True),
}


@pytest.fixture(scope="module", params=IMAGES)
def image(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / request.param
    IMAGES[request.param](path)
    return path


def codes(folder, fit):
    """By language, of an ONNX artifact whose images become squares like that."""
    manifest = phone.manifest_of(phone.make_job(phone.make_model(), "onnx", folder), [])
    prepared = manifest.preprocess.model_copy(update={"fit": fit, "size": SIZE})
    manifest = manifest.model_copy(update={"preprocess": prepared})
    manifest.save(folder)
    return {snippet.language: snippet.code for snippet in snippets(manifest)}


@pytest.mark.parametrize("fit", FITS)
def test_python_gives_the_same_pixels(fit, image, tmp_path, monkeypatch):
    code = codes(tmp_path, fit)["python"].replace("import onnxruntime\n", "")
    preparation, found, _ = code.partition("\nsession = ")
    assert found
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["predict.py", str(image)])
    values = {}
    exec(compile(preparation, "README.md", "exec"), values)
    np.testing.assert_array_equal(values["pixels"][0].transpose(1, 2, 0), load_square(image, SIZE, fit))


# Another library rounds, decodes and filters in its own way: so many of 255 steps, on noise, in the mean and for 99 %
# of the pixels.
JS_MEAN, JS_MOST = 2.5, 20


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory):
    """A folder for NODE_PATH with a runtime that writes down what it is given; sharp is the real one."""
    if not shutil.which("node") or subprocess.run(["node", "-e", "require('sharp')"], capture_output=True).returncode:
        pytest.skip("sharp not installed")
    runtime = tmp_path_factory.mktemp("node") / "onnxruntime-node"
    runtime.mkdir()
    (runtime / "index.js").write_text(
        """
        exports.Tensor = class { constructor(...given) { this.given = given; } };
        exports.InferenceSession = { create: async (file) => ({ run: async ({ image }) => {
          const [type, data, shape] = image.given;
          console.log(JSON.stringify({ file, type, shape, pixels: Array.from(data) }));
          process.exit();
        } }) };
        """
    )
    return runtime.parent


@pytest.mark.parametrize("fit", FITS)
def test_javascript_gives_nearly_the_same_pixels(fit, image, node_modules, tmp_path):
    (tmp_path / "predict.cjs").write_text(codes(tmp_path, fit)["js"], encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(node_modules), os.environ.get("NODE_PATH")]))
    command = ["node", "predict.cjs", str(image)]
    environment = {**os.environ, "NODE_PATH": path}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    given = json.loads(done.stdout)
    assert (given["file"], given["type"], given["shape"]) == ("model.onnx", "float32", [1, 3, SIZE, SIZE])
    actual = np.array(given["pixels"]).reshape(3, SIZE, SIZE).transpose(1, 2, 0)
    difference = np.abs(actual - load_square(image, SIZE, fit))
    assert difference.mean() < JS_MEAN
    assert np.percentile(difference, 99) <= JS_MOST
    # What a wrong way to do it would give.
    assert np.abs(np.roll(actual, 2, axis=1) - load_square(image, SIZE, fit)).mean() > 3 * JS_MEAN


def test_phones_halve_before_they_filter(tmp_path):
    """Android's filter is not antialiased: the README's loop, in Python, stays near to what is."""
    for target in ("litert", "executorch"):
        job = phone.make_job(phone.make_model(), target, tmp_path)
        kotlin = next(item.code for item in snippets(phone.manifest_of(job, [])) if item.language == "kotlin")
        assert re.search(r"while \(photo\.width > 2 \* width \|\| photo\.height > 2 \* height\)", kotlin)
        assert "maxOf(width, photo.width / 2), maxOf(height, photo.height / 2)" in kotlin
    import torch

    def scaled(pixels, height, width):
        return torch.nn.functional.interpolate(pixels, (height, width), mode="bilinear", align_corners=False)

    path = tmp_path / "large.png"
    grain = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), dtype=np.uint8)
    Image.fromarray(grain // 2 + noise(1600, 1200) // 2).save(path)
    right = load_square(path, SIZE).astype(float)
    pixels = torch.from_numpy(np.asarray(Image.open(path)).transpose(2, 0, 1)[None].astype(np.float32))
    at_once = np.abs(scaled(pixels, SIZE, SIZE)[0].numpy().transpose(1, 2, 0) - right).mean()
    while pixels.shape[3] > 2 * SIZE or pixels.shape[2] > 2 * SIZE:
        pixels = scaled(pixels, max(SIZE, pixels.shape[2] // 2), max(SIZE, pixels.shape[3] // 2))
    by_halves = np.abs(scaled(pixels, SIZE, SIZE)[0].numpy().transpose(1, 2, 0) - right).mean()
    assert by_halves < at_once / 2


@pytest.mark.parametrize("shape", [(270, 150), (150, 270), (64, 63), (64, 61), (640, 355), (355, 640)])
def test_phones_pad_at_the_same_place(shape):
    """Kotlin's ``round`` and Swift's ``toNearestOrEven`` are Python's: their arithmetic, in Python."""
    width, height = (round(side / max(shape) * SIZE) for side in shape)
    left, top = round((SIZE - width) / 2), round((SIZE - height) / 2)
    expected = np.full((SIZE, SIZE, 3), BORDER, np.uint8)
    expected[top : top + height, left : left + width] = 0
    np.testing.assert_array_equal(square(Image.new("RGB", shape), SIZE, "pad"), expected)
