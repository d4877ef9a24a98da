"""ncnn nets: their answers, how their weights are stored, and what is refused."""

import shutil
import sys

import numpy as np
import phone
import pytest
import torch
from torch import nn

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.exporting import export
from mlkdc.exporting.merging.merge import merge
from mlkdc.records.manifest import Manifest, ModelFile
from mlkdc.runtime import open_artifact
from mlkdc.runtime.backends.ncnn import Ncnn
from mlkdc.runtime.metadata import fingerprint
from mlkdc.runtime.session import spec_of

ncnn = pytest.importorskip("ncnn")
pnnx = pytest.importorskip("pnnx")
pytestmark = pytest.mark.converter

SIZE = 64
FILES = ["model.ncnn.bin", "model.ncnn.param"]
PRECISIONS = {"fp32": 1e-5, "fp16": 0.02}


@pytest.fixture(scope="module")
def run(make_run, student):
    trained = student("shufflenetv2_x0_5")
    with torch.no_grad():
        trained.head.bias.uniform_(-1, 1)  # an addition of zeros is not exported
    return make_run(trained)


@pytest.fixture(scope="module")
def exported(run):
    return {precision: export(run, "ncnn", precision=precision) for precision in PRECISIONS}


@pytest.fixture
def convert(tmp_path):
    """Export a merged model and open what was written."""

    def use(model: nn.Module, size: int = SIZE, precision: str = "fp32") -> Ncnn:
        manifest = phone.export(phone.make_job(model, "ncnn", tmp_path, precision, input_shape=(1, 3, size, size)))
        assert sorted(manifest.files) == FILES
        return Ncnn(tmp_path, spec_of(manifest), 1)

    return use


@pytest.fixture
def copied(tmp_path, exported):
    """A copy of the fp32 artifact and its manifest, to be spoiled."""
    folder = shutil.copytree(exported["fp32"], tmp_path / "ncnn-fp32")
    return folder, Manifest.load(folder)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_artifact_answers_like_the_model(precision, exported, run, framed_noise):
    folder = exported[precision]
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "manifest.json", *FILES]
    with torch.no_grad():
        expected = run.model(framed_noise).sigmoid().numpy()
    with open_artifact(folder, threads=1) as session:
        assert sorted(session.manifest.files) == FILES
        assert session.manifest.input.dtype == "float32"
        assert session._backend._net.opt.num_threads == 1
        for pixels in (framed_noise.numpy(), framed_noise.numpy().astype(np.uint8)):
            actual = session.predict(pixels)
            assert (actual.shape, actual.dtype) == (expected.shape, np.float32)
            np.testing.assert_allclose(actual, expected, rtol=0, atol=PRECISIONS[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_are_stored_and_options_are_set_as_the_precision_says(precision, exported, run):
    half = precision == "fp16"
    stem = merge(run.model, SIZE)[0].backbone.body.conv1[0].weight.detach().numpy()
    if half:
        assert (np.abs(stem) < 2**-14).any()
        stem = stem * 64  # else those would be zeros
    content = (exported[precision] / "model.ncnn.bin").read_bytes()
    # The mean as three numbers; the first convolution's mark (half or not) and weights.
    kind, mark = (np.float16, 0x01306B47) if half else (np.float32, 0)
    assert np.frombuffer(content, np.uint32, 1, offset=12)[0] == mark
    np.testing.assert_array_equal(np.frombuffer(content, kind, stem.size, offset=16), stem.astype(kind).ravel())

    with open_artifact(exported[precision]) as session:
        options = session._backend._net.opt
        recorded = session.manifest.details.ncnn_options
        assert {name: getattr(options, name) for name in recorded} == recorded
        assert (options.use_fp16_storage, options.use_fp16_packed) == (half, half)
        assert not any((options.use_fp16_arithmetic, options.use_bf16_storage, options.use_bf16_packed))
        assert options.num_threads == ncnn.Option().num_threads == ncnn.get_physical_big_cpu_count()


def test_half_precision_is_half_the_size(exported):
    sizes = {precision: Manifest.load(folder).size_bytes for precision, folder in exported.items()}
    assert sizes["fp16"] < 0.6 * sizes["fp32"]


def test_the_net_names_its_ends_and_holds_nothing_that_could_have_been_merged(exported):
    lines = [line.split() for line in (exported["fp32"] / "model.ncnn.param").read_text().splitlines()[2:]]
    mark = fingerprint(spec_of(Manifest.load(exported["fp32"])).metadata)
    assert lines[0] == ["Input", "image", "0", "1", "image", "0=64", "1=64", "2=3", f"19={mark}"]
    assert lines[-1][0] == "Sigmoid"
    assert lines[-1][-1] == "probabilities"
    assert "BatchNorm" not in {line[0] for line in lines}
    assert [line[0] for line in lines[1:] if "image" in line] == ["BinaryOp"]


@pytest.mark.parametrize("name", ["mobilenetv2", "repvgg_a0"])
def test_other_students(name, student, convert, framed_noise):
    model, _ = merge(student(name), SIZE)
    backend = convert(model)
    with torch.no_grad():
        expected = model(framed_noise).numpy()
    actual = np.concatenate([backend.run(image[None].numpy()) for image in framed_noise])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("fp16", 1e-3)])
def test_an_odd_size_and_a_linear_head(precision, tolerance, wrap, convert, framed_noise):
    model, _ = merge(wrap(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), channels=8), SIZE)
    framed_noise = framed_noise[..., :33, :33].contiguous()
    with torch.no_grad():
        expected, contrast = model(framed_noise).numpy(), model(framed_noise * 1.1).numpy()
        assert np.abs(expected - contrast).max() > 5 * tolerance  # it does depend on the image
    backend = convert(model, 33, precision)
    actual = np.concatenate([backend.run(image[None].numpy()) for image in framed_noise])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


class Calls(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_an_operator_that_is_no_layer_of_ncnn_is_named(wrap, convert, tmp_path):
    layers = [nn.Conv2d(3, 4, 3), Calls(lambda x: x.clamp(-0.9, 0.9).erfinv()), Calls(torch.lgamma)]
    model, _ = merge(wrap(*layers, channels=4), SIZE)
    with pytest.raises(MlkdcError, match=r"ncnn has no layer for aten::erfinv, torch\.lgamma; another target"):
        convert(model)
    assert not list(tmp_path.iterdir())


def test_failures_of_the_converter_are_reported_in_its_words(
    wrap, convert, tmp_path, tmp_path_factory, monkeypatch, capfd
):
    def untraceable(x):
        if torch.jit.is_tracing():
            raise RuntimeError("\nno trace of it\nat line 3")
        return x

    broken, _ = merge(wrap(nn.Conv2d(3, 4, 3), Calls(untraceable), channels=4), SIZE)
    with pytest.raises(MlkdcError, match=r"could not trace the model \(no trace of it\); this architecture"):
        convert(broken)

    fake = tmp_path_factory.mktemp("bin") / "pnnx"
    fake.write_text("#!/bin/sh\necho 'fp16 = 0' >&2\necho 'read failed' >&2\necho '### pass_ncnn' >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setattr(pnnx, "EXEC_PATH", str(fake))
    model, _ = merge(wrap(nn.Conv2d(3, 4, 3), channels=4), SIZE)
    with pytest.raises(MlkdcError, match=r"pnnx could not convert the model \(read failed\)"):
        convert(model)
    fake.write_text("#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(MlkdcError, match=r"\(exit code -9\)"):
        convert(model)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_batch_of_any_size_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match="one image at a time"):
        export(run, "ncnn", dynamic=True, out=tmp_path / "dynamic")


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(name, kept, copied):
    folder, manifest = copied
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(kept * len(content))])
    # A net that was cut in the last name is one with another name.
    with pytest.raises(UsageError, match=rf"(cannot load .*{name}|{name}: the manifest says .* the file has)"):
        Ncnn(folder, spec_of(manifest), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": {"name": "photo"}}, r"says input \('photo', .* the file has \[\('image'"),
        ({"output": {"name": "logits"}}, r"says output \('logits', .* the file has \[\('probabilities'"),
        ({"input": {"dtype": "uint8"}}, "says input .*'uint8', .* the file has .*'float32'"),
        ({"dynamic_batch": True}, "says input .*'any', 3, 64, 64.* the file has .*1, 3, 64, 64"),
        ({"output": {"shape": (1, 4)}}, r"output of shape \[1, 4\], the net gives \[1, 3\]"),
        ({"precision": "int8"}, "ncnn artifacts are fp32 or fp16, got 'int8'"),
        (
            {"files": {"model.ncnn.param": ModelFile(sha256="", size_bytes=0)}},
            r"expected one \.bin file in the manifest, got none",
        ),
    ],
)
def test_another_signature_than_the_manifest_says_is_refused(change, message, copied):
    folder, manifest = copied
    with pytest.raises(UsageError, match=message):
        Ncnn(folder, spec_of(phone.changed(manifest, **change)), 1)


def test_another_size_than_the_manifest_says_is_refused(copied):
    # ncnn itself runs a net on images of any size, whatever comes of it.
    folder, manifest = copied
    param = folder / "model.ncnn.param"
    param.write_text(param.read_text().replace("1=64", "1=96", 1))
    with pytest.raises(UsageError, match=r"says input .*\[1, 3, 64, 64\].* the file has .*\[1, 3, 96, 64\]"):
        Ncnn(folder, spec_of(manifest), 1)


def test_more_images_than_one_are_not_answered_for_the_first_alone(copied):
    folder, manifest = copied
    with pytest.raises(UsageError, match="one image at a time, got 3"):
        Ncnn(folder, spec_of(manifest), 1).run(np.zeros((3, 3, 64, 64), np.float32))


def test_foreign_files_and_a_missing_package_are_reported(copied, monkeypatch):
    folder, manifest = copied
    (folder / "model.ncnn.param").write_bytes(b"\x08\x07\x12\xff no net at all")
    with pytest.raises(UsageError, match=r"cannot load .*model\.ncnn\.param: damaged, or with unknown layers"):
        Ncnn(folder, spec_of(manifest), 1)
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(UsageError, match=r"run: pip install 'mlkdc\[ncnn-runtime\]'"):
        Ncnn(folder, spec_of(manifest), 1)
