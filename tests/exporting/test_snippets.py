"""A README's code of every target and every way to make a square: what is in it, where nothing can run it here."""

import re

import phone
import pytest
import tree_sitter_cpp
import tree_sitter_javascript
import tree_sitter_kotlin
import tree_sitter_swift
from tree_sitter import Language, Parser

from mlkdc.exporting.readme import snippets, write_readme
from mlkdc.records.manifest import RuntimeDetails
from mlkdc.records.parity import Parity
from mlkdc.runtime.targets import load_target, target_names

pytestmark = pytest.mark.converter

GRAMMARS = {
    "kotlin": tree_sitter_kotlin,
    "swift": tree_sitter_swift,
    "cpp": tree_sitter_cpp,
    "js": tree_sitter_javascript,
}
#: Where else than in the manifest it is said.
HOLDERS = {"tensorrt": "description are in `model.onnx` too.", "ncnn": "in a form for programs. | |"}
#: How other languages' code is run.
RUN = {
    "onnx": (
        "node predict.cjs photo.jpg",
        "g++ -std=c++17 predict.cpp -o predict -lonnxruntime",
        "./predict square.rgb",
    ),
    "openvino": ("g++ -std=c++17 predict.cpp -o predict -lopenvino", "./predict square.rgb"),
    "ncnn": ("g++ -std=c++17 predict.cpp -o predict -lncnn -fopenmp", "./predict square.rgb"),
}
_KOTLIN = {
    "crop": ("Bitmap.createBitmap(photo, (photo.width - side) / 2, (photo.height - side) / 2, side, side)",),
    "pad": (
        "round(photo.width.toDouble() / longer * size)",
        "round((size - width) / 2.0).toInt() to round((size - height) / 2.0).toInt()",
        "canvas.drawColor(Color.rgb(114, 114, 114))",
        "canvas.drawBitmap(photo, null, Rect(left, top, left + width, top + height), null)",
        "import android.graphics.Canvas\n",
        "import android.graphics.Rect\n",
        "import kotlin.math.round\n",
    ),
}
#: What makes the square in other languages, by how it is made.
SQUARES = {
    "executorch": _KOTLIN,
    "litert": _KOTLIN,
    "coreml": {
        "stretch": ("let place = CGRect(x: 0, y: 0, width: size, height: size)",),
        "crop": (
            "let scale = Double(size) / Double(min(photo.width, photo.height))",
            "CGRect(x: (Double(size) - width) / 2, y: (Double(size) - height) / 2, width: width, height: height)",
        ),
        "pad": (
            "(Double(photo.width) / longer * Double(size)).rounded(.toNearestOrEven)",
            "CGRect(x: left, y: Double(size) - top - height, width: width, height: height)",
            "components: [114.0 / 255, 114.0 / 255, 114.0 / 255, 1]",
        ),
    },
    "onnx": {
        "stretch": ('channels: 3 } })\n    .resize(size, size, { fit: "fill"',),
        "crop": (".extract({ left: (info.width - side) >> 1",),
        "pad": ('fit: "contain", background: "#727272"',),
    },
}
#: Where the operating system would convert colors by an image's profile.
IGNORES_PROFILES = {
    "coreml": "let photo = image.copy(colorSpace: sRGB) ?? image",
    "executorch": "photo.setColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))",
    "litert": "photo.setColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))",
    "onnx": "ignoreIcc: true",
}


def faults(language, source):
    """Lines that are none of that language: no compiler of Kotlin or Swift is at hand."""
    grammar = Language(GRAMMARS[language].language())
    open_nodes, lines = [Parser(grammar).parse(source.encode()).root_node], []
    while open_nodes:
        node = open_nodes.pop()
        if node.is_error or node.is_missing:
            lines.append(source.splitlines()[node.start_point.row])
        open_nodes += node.children
    return lines


def test_faults_are_found():
    assert faults("kotlin", "fun f() {\n    val a = (1\n}\n")
    assert faults("swift", "func f() {\n    let a = (1\n}\n")
    assert faults("cpp", "int main() { return 1 }\n")
    assert faults("js", "const a = [1, 2;\n")


@pytest.mark.parametrize("target", target_names())
@pytest.mark.parametrize(("fit", "dtype"), [("stretch", "float32"), ("crop", "uint8"), ("pad", "float32")])
def test_every_target_has_code_whatever_it_takes(target, fit, dtype, tmp_path):
    spec = load_target(target)
    job = phone.make_job(phone.make_model(), target, tmp_path, input_dtype=dtype)
    details = RuntimeDetails(ncnn_options={"use_fp16_storage": True})
    manifest = phone.manifest_of(job, [], details=details, classes=('a "b"', "c\\d", "e"))
    prepared = manifest.preprocess.model_copy(update={"fit": fit})
    failed = Parity(passed=False, reason="made up")
    write_readme(tmp_path, manifest.model_copy(update={"preprocess": prepared, "status": "failed", "parity": failed}))
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "**This export failed its check and should not be shipped:** made up." in text
    assert HOLDERS.get(target, "description are in the model file too.") in " ".join(text.split())
    (python,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    compile(python, "README.md", "exec")
    assert f"dtype=np.{dtype}" in python
    assert {"stretch": "image.resize", "crop": "ImageOps.fit", "pad": "ImageOps.pad"}[fit] in python
    if target in ("onnx", "openvino", "ncnn"):
        assert 'classes[] = {"a \\"b\\"", "c\\\\d", "e"}' in text
    other = text.partition("```python")[2]
    for command in RUN.get(target, ()):
        assert f"`{command}`" in other
    for name, marks in SQUARES.get(target, {}).items():
        assert all((mark in other) is (name == fit) for mark in marks), (name, fit)
    if target in IGNORES_PROFILES:
        assert IGNORES_PROFILES[target] in text
    for language, source in re.findall(r"```(kotlin|swift|cpp|js)\n(.*?)```", text, re.DOTALL):
        assert not faults(language, source)
    assert len(snippets(manifest)) == 1 + len(re.findall(r"^## (?!Python|What)", text, re.MULTILINE))
    assert spec.runtime == manifest.runtime
