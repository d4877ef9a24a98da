"""ExecuTorch programs: their answers, what XNNPACK computes in int8, and what is refused."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import phone
import pytest
import torch

from mlkdc.errors import UsageError
from mlkdc.exporting.formats.executorch import _exported, _slice_splits
from mlkdc.exporting.int8.pt2e import quantize
from mlkdc.exporting.job import Quantization
from mlkdc.records.manifest import RuntimeDetails

pytest.importorskip("executorch")
pytest.importorskip("torchao")
pytestmark = [
    pytest.mark.converter,
    pytest.mark.timeout(900),  # it takes minutes to lower a model where the processor is busy
]

HEAD = ["head.embed", "head.to_score", "head.to_value", "head.to_out", "head.ffn.0", "head.ffn.3"]
BLOCK = ["backbone.4.wide.0", "backbone.4.deep.0", "backbone.4.narrow"]


@pytest.fixture(scope="module")
def model():
    return phone.make_model()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """(job, manifest) of the fp32 program with float32 input, and of the int8 one with uint8 input."""
    artifacts = {}
    for dtype, quantization in (("float32", None), ("uint8", Quantization(phone.photos()))):
        folder = tmp_path_factory.mktemp("executorch")
        job = phone.make_job(model, "executorch", folder, input_dtype=dtype, quantization=quantization)
        artifacts[job.precision] = job, phone.export(job)
    return artifacts


def xnnpack_nodes(path: Path, scratch: Path) -> list[tuple[str, str]]:
    """(kind, type of the weights) of each node of a program that XNNPACK runs, read back with flatc."""
    from executorch.backends.xnnpack import serialization
    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader
    from executorch.exir._serialize._flatbuffer import _flatc_decompile
    from executorch.exir._serialize._program import deserialize_pte_binary

    program = deserialize_pte_binary(path.read_bytes()).program
    schema = Path(next(iter(serialization.__path__))) / "schema.fbs"
    nodes = []
    for delegate in program.execution_plan[0].delegates:
        assert delegate.id == "XnnpackBackend"
        payload = program.backend_delegate_data[delegate.processed.index].data
        header = XNNHeader.from_bytes(payload[: XNNHeader.EXPECTED_LENGTH])
        start = header.flatbuffer_offset
        (scratch / "graph.bin").write_bytes(payload[start : start + header.flatbuffer_size])
        _flatc_decompile(str(scratch), str(schema), str(scratch / "graph.bin"), ["--raw-binary"])
        graph = json.loads(re.sub(r": -?inf\b", ": null", (scratch / "graph.json").read_text()))
        values = [value["xvalue_union"] for value in graph["xvalues"]]
        tensors = [value.get("tensor_value", value) for value in values]
        types = {tensor["id_out"]: tensor["datatype"].removeprefix("xnn_datatype_") for tensor in tensors}
        for node in graph["xnodes"]:
            kind = node["xnode_union_type"].removeprefix("_XNN").removeprefix("XNN")
            nodes.append((kind, types.get(node["xnode_union"].get("filter_id"), "")))
    return nodes


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 1e-5), ("int8", 0.05)])
def test_it_answers_like_the_model(precision, allowed, exported, model):
    job, manifest = exported[precision]
    assert list(manifest.files) == ["model.pte"]
    phone.check_answers(job, manifest, model, allowed)


def test_layers_are_int8_in_xnnpack_and_what_decides_is_float(exported, tmp_path):
    job, manifest = exported["int8"]
    nodes = xnnpack_nodes(job.folder / "model.pte", tmp_path)
    layers = [(kind, weights) for kind, weights in nodes if kind in ("Conv2d", "DepthwiseConv2d", "FullyConnected")]
    assert (
        sorted(layers)
        == [("Conv2d", "qcint8")] * 4 + [("DepthwiseConv2d", "qcint8")] + [("FullyConnected", "qcint8")] * 5
    )
    job, plain = exported["fp32"]
    nodes = xnnpack_nodes(job.folder / "model.pte", tmp_path)
    assert {weights for kind, weights in nodes if kind == "FullyConnected"} == {"fp32"}
    # No layer and no product is left to the portable kernels.
    left = ["aten::expand_copy", "aten::native_layer_norm", "aten::sum"]
    assert plain.details == RuntimeDetails(outside_xnnpack=tuple(left))
    conversion = "dim_order_ops::_to_dim_order_copy"  # uint8 to float
    assert manifest.details == RuntimeDetails(outside_xnnpack=(*left, conversion))


def test_splits_become_slices():
    class Splits(torch.nn.Module):
        def forward(self, x):
            first, second = x.chunk(2, dim=1)
            parts = [first, *second.split([1, 2], dim=1), *x.split(4, dim=1)]
            return torch.cat([part * k for k, part in enumerate(parts, 1)], dim=1)

    image, splits = torch.randn(2, 6, 3, 4), Splits()
    program = torch.export.export(splits, (image,))
    assert any("split" in str(node.target) or "chunk" in str(node.target) for node in program.graph.nodes)
    _slice_splits(program.graph)
    program.graph_module.recompile()
    assert not any("split" in str(node.target) or "chunk" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(image), splits(image), rtol=0, atol=0)


def quantized(model, tmp_path, how):
    """The quantized graph before it is lowered: nodes by name of their module."""
    graph = quantize(_exported(model, phone.make_job(model, "executorch", tmp_path)), how, "float32").graph
    layers = {}
    for node in graph.nodes:
        if node.target in (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default):
            layers[list(node.meta["nn_module_stack"].values())[-1][0]] = node
    return graph, layers


def test_scales_per_channel_clamps_and_the_residual(model, tmp_path):
    graph, layers = quantized(model, tmp_path, Quantization(phone.photos(2)))
    assert sorted(layers) == sorted(["backbone.0", *BLOCK, *HEAD])
    assert {str(node.args[1].target) for node in layers.values()} == {
        "quantized_decomposed.dequantize_per_channel.default"
    }
    for name in ("backbone.0", "backbone.4.wide.0", "backbone.4.deep.0"):
        (clamp,) = layers[name].users  # nothing is rounded between a layer and its ReLU6
        assert "hardtanh" in str(clamp.target)
        (rounded,) = clamp.users
        assert 0 < rounded.args[1] <= 6 / 255 * 1.01
    sums = [node for node in graph.nodes if node.target is torch.ops.aten.add.Tensor]
    rounds = ["quantize" in str(next(iter(node.users)).target) for node in sums]
    assert rounds == [True, False, False, False]  # the residual; the head's three


def test_modules_that_stay_in_float_one_scale_and_clipped_ranges(model, tmp_path):
    images = np.random.default_rng(0).integers(100, 200, (4, 3, phone.SIZE, phone.SIZE), dtype=np.uint8)
    images[0, 0, 0, 0] = 212  # the only one so bright
    scales = {}
    for clip in (False, True):
        how = Quantization(images, per_channel=False, clip=clip, keep=("backbone.4.narrow", "head"))
        graph, layers = quantized(model, tmp_path, how)
        kinds = {name: str(node.args[1].target) for name, node in layers.items()}
        integer = {name for name, kind in kinds.items() if "dequantize_per_tensor" in kind}
        assert integer == {"backbone.0", *BLOCK[:2]}
        assert "per_channel" not in "".join(kinds.values())
        scales[clip] = np.array([node.args[1] for node in graph.nodes if ".quantize_per_tensor" in str(node.target)])
    means = 255 * np.array([0.2, 0.5, 0.8])
    assert 255 * scales[False][0] == pytest.approx(212 - means[0] - (100 - means[2]), rel=1e-3)
    assert 255 * scales[True][0] == pytest.approx(199 - means[0] - (100 - means[2]), rel=0.01)
    assert (scales[True] < 1.01 * scales[False]).all()


def test_an_exporter_that_gives_up_is_reported_in_a_line(model, tmp_path, monkeypatch, capfd):
    def fail(*_, **__):
        os.write(1, b"chatter")
        raise RuntimeError("no such operator: aten.odd\nand a long story")

    monkeypatch.setattr(torch.export, "export", fail)
    message = r"could not export to executorch \(RuntimeError: no such operator: aten\.odd\); this architecture"
    job = phone.make_job(model, "executorch", tmp_path)
    assert phone.check_failure_is_one_sentence(job, message, capfd) == ""


def test_threads_reach_the_runtime_or_are_refused(exported):
    from executorch.extension.pybindings.portable_lib import _threadpool_get_thread_count as count

    first = phone.opened(*exported["fp32"], 2)
    assert count() == 2
    second = phone.opened(*exported["int8"], 2)
    with pytest.raises(UsageError, match=r"cannot run ExecuTorch with 1 threads: a model is open .* with 2"):
        phone.opened(*exported["fp32"], 1)
    third = phone.opened(*exported["fp32"], None)
    for backend in (first, second, third):
        backend.close()
    phone.opened(*exported["fp32"], 1).close()
    assert count() == 1


@pytest.mark.parametrize(
    "spoil", [lambda content: content[: len(content) // 2], lambda _: b"no program" * 99, lambda _: b""]
)
def test_a_damaged_file_is_refused(spoil, exported, tmp_path):
    message = r"ExecuTorch cannot load .*model\.pte"
    phone.check_damaged_file_is_refused(*exported["fp32"], "model.pte", spoil, tmp_path, message)


@pytest.mark.parametrize(
    ("role", "change", "message"),
    [
        ("input", {"dtype": "uint8"}, "the manifest says input .*uint8.*the file has .*float32"),
        ("input", {"shape": (1, 3, 32, 32)}, r"the manifest says input .*32, 32.*the file has .*64, 64"),
        ("output", {"shape": (1, 4)}, "the manifest says output"),
    ],
)
def test_another_signature_than_the_manifest_is_refused(role, change, message, exported):
    phone.check_signature_is_refused(*exported["fp32"], role, change, message)


def test_a_missing_package_is_reported_with_the_line_that_installs_it(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "executorch.extension.pybindings", None)
    phone.check_missing_package_is_reported(*exported["fp32"], "executorch-runtime")


def test_nothing_is_printed_when_a_program_is_opened(exported, capfd):
    phone.check_opens_in_silence(*exported["fp32"], capfd)
