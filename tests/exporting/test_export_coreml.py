"""Core ML packages, read back and evaluated operator by operator: Core ML itself runs only on macOS."""

import platform
import warnings

import numpy as np
import phone
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.exporting.formats import run_exporter
from mlkdc.exporting.formats.coreml import export_coreml
from mlkdc.exporting.merging.merge import merge
from mlkdc.records.manifest import ModelFile
from mlkdc.runtime.backends.coreml import CoreMl
from mlkdc.runtime.session import spec_of

coremltools = pytest.importorskip("coremltools")
pytestmark = pytest.mark.converter

SIZE = 64
FILES = [
    "model.mlpackage/Data/com.apple.CoreML/model.mlmodel",
    "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
    "model.mlpackage/Manifest.json",
]


def job_of(model, folder):
    return phone.make_job(model, "coreml", folder, "fp16")


@pytest.fixture(scope="module")
def exported(student, tmp_path_factory):
    """A student with a decoder head, and its package, made once."""
    model, folder = merge(student("mobilenetv2"), SIZE)[0], tmp_path_factory.mktemp("coreml")
    return model, folder, export_coreml(job_of(model, folder))


def program(folder):
    """The operators of the package's program in their order, constants with their values."""
    from coremltools.converters.mil.frontend.milproto.load import load

    model = coremltools.models.MLModel(str(folder / "model.mlpackage"), skip_model_load=True)
    spec = model.get_spec()
    return load(spec, spec.specificationVersion, model.weights_dir).functions["main"].operations


def evaluate(operations, image):
    """What the program gives, each result rounded to the type that the program says it has."""
    tensors = {"image": torch.from_numpy(image)}

    def value(variable):
        if isinstance(variable, tuple | list):
            return [value(item) for item in variable]
        if variable.name in tensors:
            return tensors[variable.name]
        constant = variable.val
        if isinstance(constant, np.ndarray) and constant.dtype.kind == "f":
            return torch.from_numpy(constant.astype(np.float32))
        return constant.tolist() if hasattr(constant, "tolist") else constant

    for operation in operations:
        if operation.op_type == "const":
            continue
        arguments = {name: value(variable) for name, variable in operation.inputs.items() if variable is not None}
        results = OPERATORS[operation.op_type](**arguments)
        results = results if isinstance(results, tuple | list) else [results]
        for output, tensor in zip(operation.outputs, results, strict=True):
            assert tuple(tensor.shape) == tuple(output.shape)
            tensors[output.name] = tensor.half().float() if half(output) else tensor
    return tensors["probabilities"].numpy()


def half(variable):
    return coremltools.converters.mil.mil.types.builtin_to_string(variable.dtype) == "fp16"


def convolve(x, weight, strides, pad_type, pad, dilations, groups, bias=None):
    top, bottom, left, right = {"custom": pad, "valid": [0, 0, 0, 0]}[pad_type]
    return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, strides, 0, dilations, groups)


# By the names and arguments of Apple's reference of MIL operators.
OPERATORS = {
    "add": lambda x, y: x + y,
    "cast": lambda x, dtype: x,
    "clip": lambda x, alpha, beta: x.clip(alpha, beta),
    "conv": convolve,
    "layer_norm": lambda x, axes, gamma, beta, epsilon: F.layer_norm(x, x.shape[-len(axes) :], gamma, beta, epsilon),
    "linear": lambda x, weight, bias=None: F.linear(x, weight, bias),
    "matmul": lambda x, y, transpose_x, transpose_y: (x.mT if transpose_x else x) @ (y.mT if transpose_y else y),
    "mul": lambda x, y: x * y,
    "reduce_mean": lambda x, axes, keep_dims: x.mean(axes, keep_dims),
    "reduce_sum": lambda x, axes, keep_dims: x.sum(axes, keep_dims),
    "relu": lambda x: x.relu(),
    "reshape": lambda x, shape: x.reshape(shape),
    "sigmoid": lambda x: x.sigmoid(),
    "softmax": lambda x, axis: x.softmax(axis),
    "sub": lambda x, y: x - y,
    "transpose": lambda x, perm: x.permute(perm),
}


def expected(model, images):
    with torch.no_grad():
        return model(torch.from_numpy(images)).numpy()


def test_the_program_that_was_written_answers_like_the_model(exported, framed_noise):
    model, folder, built = exported
    assert built.files == FILES
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == FILES
    operations, images = program(folder), framed_noise.numpy()
    actual = np.concatenate([evaluate(operations, image[None]) for image in images])
    difference = np.abs(actual - expected(model, images))
    assert 0 < difference.max() < 0.02
    assert difference.max() < 0.1 * np.ptp(expected(model, images))


def test_all_but_the_two_ends_is_half_precision(exported):
    model, folder, _ = exported
    operations = [operation for operation in program(folder) if operation.op_type != "const"]
    in_float = [operation.op_type for operation in operations if not half(operation.outputs[0])]
    # The second cast is of what the head's linear path adds.
    assert in_float == ["sub", "mul", "cast", "mul", "reduce_sum", "cast", "add", "sigmoid"]
    weights = [operation.inputs["weight"].val for operation in operations if operation.op_type in ("conv", "linear")]
    assert len(weights) == sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules())
    assert {weight.dtype for weight in weights} == {np.dtype(np.float16)}
    numbers = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    assert (folder / FILES[1]).stat().st_size == pytest.approx(2 * numbers, rel=0.02)


def test_the_package_says_what_it_takes_and_gives(exported):
    _, folder, built = exported
    spec = coremltools.models.MLModel(str(folder / "model.mlpackage"), skip_model_load=True).get_spec()
    actual = {
        value.name: (list(value.type.multiArrayType.shape), value.type.multiArrayType.dataType)
        for value in (*spec.description.input, *spec.description.output)
    }
    float32 = coremltools.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    assert actual == {"image": ([1, 3, SIZE, SIZE], float32), "probabilities": ([1, 3], float32)}
    assert spec.specificationVersion == coremltools.target.iOS15
    assert "iOS 15" in built.details.needs


def test_a_scale_that_no_convolution_took_is_float_too(wrap, tmp_path, framed_noise, capfd, monkeypatch):
    layers = [
        nn.AvgPool2d(4),
        nn.Flatten(2),
        nn.Linear(256, 64),
        nn.Unflatten(2, (8, 8)),
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
    ]
    model = merge(wrap(*layers, channels=8), SIZE)[0]
    assert model.scale is not None
    export_coreml(job_of(model, tmp_path))
    assert capfd.readouterr() == ("", "")
    operations = program(tmp_path)
    operations = [operation for operation in operations if operation.op_type != "const"]
    in_float = [operation.op_type for operation in operations if not half(operation.outputs[0])]
    assert in_float == ["sub", "mul", "cast", "sigmoid"]
    pool = {"avg_pool": lambda x, kernel_sizes, strides, **_: F.avg_pool2d(x, kernel_sizes, strides)}
    monkeypatch.setattr(f"{__name__}.OPERATORS", OPERATORS | pool)
    actual = np.concatenate([evaluate(operations, image[None]) for image in framed_noise.numpy()])
    np.testing.assert_allclose(actual, expected(model, framed_noise.numpy()), rtol=0, atol=0.02)


def test_what_cannot_be_converted_is_reported(wrap, tmp_path, capfd):
    class Unknown(nn.Module):
        def forward(self, x):
            return torch.special.i0e(x)

    model = merge(wrap(nn.Conv2d(3, 8, 3), Unknown(), channels=8), SIZE)[0]
    with pytest.raises(MlkdcError, match=r"could not export to coreml \(.*i0e.*\); this architecture"):
        run_exporter(job_of(model, tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def manifest(exported):
    """Of the exported package."""
    model, folder, built = exported
    return phone.manifest_of(job_of(model, folder), built.files, details=built.details)


@pytest.fixture
def mac(monkeypatch):
    """A Mac whose Core ML is the evaluation above."""

    class Model(coremltools.models.MLModel):
        def __init__(self, path):
            super().__init__(path, skip_model_load=True)
            from coremltools.converters.mil.frontend.milproto.load import load

            spec = self.get_spec()
            self.operations = load(spec, spec.specificationVersion, self.weights_dir).functions["main"].operations

        def predict(self, inputs):
            return {"probabilities": evaluate(self.operations, inputs["image"])}

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(coremltools.models, "MLModel", Model)
    return Model


def test_elsewhere_it_says_what_it_needs(exported, manifest, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert CoreMl.cannot_run() == "needs macOS"
    with pytest.raises(UsageError, match="needs macOS, this is Linux"):
        CoreMl(exported[1], spec_of(manifest), None)


def test_a_mac_predicts(exported, manifest, mac, framed_noise):
    assert CoreMl.cannot_run() is None
    backend = CoreMl(exported[1], spec_of(manifest), 1)
    actual = backend.run(framed_noise.numpy()[:1])
    np.testing.assert_allclose(actual, expected(exported[0], framed_noise.numpy()[:1]), atol=0.02)
    backend.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": {"shape": (1, 3, 32, 32)}}, "the manifest says .*32.*has .*64"),
        ({"input": {"dtype": "uint8"}}, "uint8.*the model has .*float32"),
        ({"output": {"name": "logits"}}, "logits.*the model has .*probabilities"),
        (
            {"files": {"model.onnx": ModelFile(sha256="", size_bytes=0)}},
            r"expected one \.mlpackage in the manifest, got none",
        ),
    ],
)
def test_a_package_that_is_not_the_manifests_is_refused(exported, manifest, mac, change, message):
    with pytest.raises(UsageError, match=message):
        CoreMl(exported[1], spec_of(phone.changed(manifest, **change)), None)


def test_a_package_that_cannot_be_compiled_is_refused(exported, manifest, monkeypatch):
    def load(path):
        warnings.warn("You will not be able to run predict() on this Core ML model.", RuntimeWarning, stacklevel=1)

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(coremltools.models, "MLModel", load)
    with pytest.raises(UsageError, match=r"Core ML cannot load .*model\.mlpackage: You will not be able"):
        CoreMl(exported[1], spec_of(manifest), None)


def test_a_missing_package_says_what_to_install(exported, manifest, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setitem(__import__("sys").modules, "coremltools", None)
    with pytest.raises(UsageError, match=r"needs coremltools.* pip install 'mlkdc\[coreml-runtime\]'"):
        CoreMl(exported[1], spec_of(manifest), None)
