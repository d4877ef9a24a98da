"""README.md of an artifact folder: what it is, its figures, and code that runs it, all from the manifest."""

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from mlkdc.figures import drop_range, drop_words, megabytes, number, scientific
from mlkdc.fit import Fit
from mlkdc.records.manifest import Manifest
from mlkdc.records.metadata import EMBEDDING
from mlkdc.records.parity import ParityFigures
from mlkdc.resources import write_text

README = "README.md"
_IMPORTS = {
    "onnxruntime": "import onnxruntime",
    "openvino": "import openvino",
    "litert": "from ai_edge_litert.interpreter import Interpreter",
    "executorch": "import torch\nfrom executorch.runtime import Runtime",
    "ncnn": "import ncnn",
    "tensorrt": "",
    "coreml": "import coremltools",
}
_SQUARE: dict[Fit, str] = {
    "stretch": "image = image.resize({size}, Image.Resampling.BILINEAR)",
    "crop": "image = ImageOps.fit(image, {size}, Image.Resampling.BILINEAR)",
    "pad": "image = ImageOps.pad(image, {size}, Image.Resampling.BILINEAR, (114, 114, 114))",
}
_SHARP: dict[Fit, str] = {
    "stretch": '.resize(size, size, { fit: "fill", kernel: "linear" })',
    # Its own way to crop reduces first, and takes whole pixels of the result.
    "crop": ".extract({ left: (info.width - side) >> 1, top: (info.height - side) >> 1, width: side, height: side })\n"
    '    .resize(size, size, { fit: "fill", kernel: "linear" })',
    "pad": '.resize(size, size, { fit: "contain", background: "#727272", kernel: "linear" })',
}


@dataclass(frozen=True)
class Snippet:
    """Code that runs an artifact: a heading, the language's name in Markdown, what it needs, and the code."""

    title: str
    language: str
    note: str
    code: str


@dataclass(frozen=True)
class _Kind:
    """A snippet of a runtime that is not Python: its template, and what it needs in words."""

    title: str
    language: str
    template: str
    note: str


_NOT_RUN = "Written for {needs}; not run by mlkdc's authors."
_NODE = (
    "With Node, as `predict.cjs` in this folder: `npm install onnxruntime-node sharp` (sharp 0.33 or later), then "
    "`node predict.cjs photo.jpg`."
)
_CPP = (
    "With {what}; decode and resize with any library. As `predict.cpp` in this folder: "
    "`g++ -std=c++17 predict.cpp -o predict {flags}`, then `./predict square.rgb`."
)
_NCNN = " An older ncnn may lack one of the options: omit its line there."
_OTHERS = {
    "onnxruntime": (
        _Kind("JavaScript", "js", "onnxruntime.js", _NODE),
        _Kind("C++", "cpp", "onnxruntime.cpp", _CPP.format(what="ONNX Runtime's C++ package", flags="-lonnxruntime")),
    ),
    "openvino": (_Kind("C++", "cpp", "openvino.cpp", _CPP.format(what="OpenVINO", flags="-lopenvino")),),
    "litert": (
        _Kind(
            "Kotlin", "kotlin", "litert.kt", _NOT_RUN.format(needs="Android with `com.google.ai.edge.litert:litert`")
        ),
    ),
    "executorch": (
        _Kind(
            "Kotlin", "kotlin", "executorch.kt", _NOT_RUN.format(needs="Android with `org.pytorch:executorch-android`")
        ),
    ),
    "ncnn": (_Kind("C++", "cpp", "ncnn.cpp", _CPP.format(what="ncnn", flags="-lncnn -fopenmp") + _NCNN),),
    "coreml": (_Kind("Swift", "swift", "coreml.swift", _NOT_RUN.format(needs="iOS 16, macOS 13 and later")),),
}


def write_readme(folder: Path, manifest: Manifest) -> None:
    """Write README.md into an artifact's folder.

    Raises:
        MlkdcError: the disk is full or not writable.
    """
    text = _render(
        README,
        manifest,
        files=", ".join(f"`{name}`" for name in manifest.files),
        megabytes=megabytes(manifest.size_bytes),
        verdict=_verdict(manifest),
        figures=_figures(manifest),
        holder=_holder(manifest.target),
        snippets=snippets(manifest),
    )
    write_text(folder / README, text + "\n")


def snippets(manifest: Manifest) -> list[Snippet]:
    """Python first, then what else fits the target. Each reads its files from the working directory."""
    name, side = manifest.runtime, manifest.preprocess.size
    code = _render(
        "prepare.py",
        manifest,
        imports=_IMPORTS[name],
        square=_SQUARE[manifest.preprocess.fit].format(size=(side, side)),
        run=_render(f"{name}.py", manifest),
    )
    note = "In this folder: `python predict.py photo.jpg`."
    if name == "coreml":
        note = f"{note} On macOS; not run by mlkdc's authors."
    found = [Snippet("Python", "python", note, code)]
    for kind in _OTHERS.get(name, ()):
        found.append(
            Snippet(kind.title, kind.language, kind.note, _render(kind.template, manifest, **_words(manifest)))
        )
    return found


def _words(manifest: Manifest) -> dict[str, str]:
    """What the templates of other languages put in, by the names they use."""
    words = {"tables": _tables(manifest), "sharp": _SHARP[manifest.preprocess.fit]}
    if manifest.input.dtype == "uint8":
        return {
            **words,
            "ctype": "uint8_t",
            "ovtype": "ov::element::u8",
            "kotlin_bytes": "1",
            "kotlin_put": "put(value.toByte())",
        }
    return {
        **words,
        "ctype": "float",
        "ovtype": "ov::element::f32",
        "kotlin_bytes": "4",
        "kotlin_put": "putFloat(value.toFloat())",
    }


def _tables(manifest: Manifest) -> str:
    """Classes and thresholds for C++, which reads no JSON."""
    names = ", ".join(_quoted(name) for name in manifest.classes)
    thresholds = ", ".join(repr(value) for value in manifest.thresholds)
    return f"static const char* const classes[] = {{{names}}};\nstatic const double thresholds[] = {{{thresholds}}};"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _holder(target: str) -> str | None:
    """Which file says by itself what it takes and gives, in words."""
    if target not in EMBEDDING:
        return None
    if target == "tensorrt":
        return "`model.onnx`"  # an engine has no place for it
    return "the model file"


def _verdict(manifest: Manifest) -> str:
    if manifest.status == "ok":
        verdict = "ok: it answers like the torch model it was made from"
        if manifest.quantization is None:
            return verdict
        if manifest.promise is not None and manifest.promise.firm:
            return f"{verdict}, within its limits, also as judged by cross-fitting; no guarantee for other images"
        # The limits were judged on the images that the ladder's step was chosen on.
        return f"{verdict}, within its limits on the images compared; on other images it may lose more"
    return f"{manifest.status}: {manifest.parity.reason}"


def _figures(manifest: Manifest) -> list[tuple[str, str]]:
    comparison, figures = manifest.parity.comparison, manifest.parity.figures
    if comparison is None or figures is None:
        return []
    rows = [
        ("compared on", f"{comparison.which}; by {comparison.runtime}"),
        *_calibrated(manifest),
        ("mAP", f"{number(figures.map_artifact_percent)} % (torch: {number(comparison.map_torch_percent)} %)"),
        ("largest difference of a probability", scientific(figures.max_probability_difference)),
        ("labels that differ", str(figures.label_flips)),
    ]
    if figures.worst_class is not None:
        moved = drop_words(figures.worst_class_drop_points)
        rows.append(("worst class", f"AP of {figures.worst_class} {moved} points{_interval(figures)}"))
    if manifest.fine_tuning is not None:
        rows.append(("weights", manifest.fine_tuning.sentence()))
    if manifest.promise is not None:
        rows.append(("on other images", manifest.promise.sentence()))
    return rows


def _calibrated(manifest: Manifest) -> list[tuple[str, str]]:
    if manifest.quantization is None:
        return []
    return [("calibrated on", manifest.quantization.calibration.which)]


def _interval(figures: ParityFigures) -> str:
    if figures.worst_class_interval_points is None:
        return ""
    turned = drop_range(figures.worst_class_drop_points, figures.worst_class_interval_points)
    return f" on these images, by {turned} in 9 of 10 other draws of as many; on other images another may be it"


def _render(template: str, manifest: Manifest, **values: object) -> str:
    environment = Environment(
        loader=PackageLoader("mlkdc.exporting"), undefined=StrictUndefined, keep_trailing_newline=False
    )
    return environment.get_template(f"{template}.j2").render(manifest=manifest, prepared=manifest.preprocess, **values)
