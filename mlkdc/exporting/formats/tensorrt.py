"""An engine of TensorRT, or of TensorRT-RTX, which needs no GPU to build one."""

import importlib.util
from dataclasses import replace
from typing import Any

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.exporting.formats import EXPORTERS
from mlkdc.exporting.formats.onnx import onnx_graph, save
from mlkdc.exporting.half import LEAST_OPSET, to_half
from mlkdc.exporting.int8.qdq import quantize
from mlkdc.exporting.job import INPUT, Built, Job
from mlkdc.exporting.merging.model import for_half
from mlkdc.records.manifest import Engine, RuntimeDetails
from mlkdc.runtime import cuda
from mlkdc.runtime.backends.tensorrt import ENGINE, GRAPH, load_library, log, title

# Of a batch of any size: the smallest, the one that kernels are chosen for, and the largest, that of a session.
BATCHES = (1, 8, 32)
# What an engine of TensorRT-RTX is for unless something else is set: its documentation names 8.0, 8.6, 8.9, 12.0 and
# later. Turing (7.5) would need a separate engine, and takes no matrix product in float32.
RTX_CAPABILITY = "8.0+"


@EXPORTERS.register("tensorrt")
def export_tensorrt(job: Job) -> Built:
    """Write ``model.engine``, and ``model.onnx``, which it was built from: to compare it, or to build it elsewhere.

    The graph's types are the engine's, layer by layer: for fp16 it is in half precision but for its two ends
    (:func:`~mlkdc.exporting.half.to_half`), for int8 it has explicit scales and is in half precision where it has none.

    Raises:
        UsageError: TensorRT is installed without a GPU, neither library can be imported, or an opset for int8 that
            has no scales in half precision.
        MlkdcError: the graph was not exported, not parsed, or not built; the message is the library's.
    """
    opset = job.target.opset
    if job.quantization and opset is not None and opset < LEAST_OPSET:
        raise UsageError(f"int8 of tensorrt needs ONNX opset {LEAST_OPSET} or later, got {opset}; omit --opset")
    trt = _library()
    if job.precision != "fp32":
        job = replace(job, model=for_half(job.model, job.input_shape))
    graph = onnx_graph(job)
    if job.quantization:
        graph = quantize(graph, job.quantization, job.input_dtype, symmetric=True)
    if job.precision != "fp32":
        graph = to_half(graph)
    save(graph, job)
    (job.folder / ENGINE).write_bytes(_build(trt, graph, job))
    return Built([ENGINE, GRAPH], _details(trt, job))


def _library() -> Any:
    """TensorRT where it can build, which takes the GPU that will run the engine; else TensorRT-RTX."""
    rtx = importlib.util.find_spec("tensorrt_rtx")
    if importlib.util.find_spec("tensorrt") and cuda.available():
        try:
            return load_library("tensorrt")
        except UsageError:  # its package can be installed without its libraries
            if not rtx:
                raise
    return load_library("tensorrt_rtx")


def _details(trt: Any, job: Job) -> RuntimeDetails:
    gpu, capability = None, RTX_CAPABILITY
    if trt.__name__ != "tensorrt_rtx":
        gpu, numbers = cuda.gpu()
        capability = ".".join(map(str, numbers))
    engine = Engine(
        library=trt.__name__,
        version=trt.__version__,
        compute_capability=capability,
        gpu=gpu,
        batch=BATCHES if job.dynamic else (1, 1, 1),
    )
    needs = (
        f"an NVIDIA GPU of compute capability {capability} and {title(trt)}, no other version; elsewhere export again"
    )
    return RuntimeDetails(needs=needs, engine=engine)


def _build(trt: Any, graph: Any, job: Job) -> bytes:
    messages = log(trt)
    messages.errors()  # errors from before are not this engine's
    builder = trt.Builder(messages)
    # Each tensor has the type that the graph gives it, none that would be faster. TensorRT-RTX and TensorRT from 11
    # on know no other way.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    # The network refers to weights that the parser holds, which must live until the engine is built.
    parser = _parse(trt, graph, network)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 with the mantissa of a half is no fp32
    if job.dynamic:
        profile = builder.create_optimization_profile()
        shapes = [(batch, *job.input_shape[1:]) for batch in BATCHES]
        profile.set_shape(INPUT, *shapes)
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    del parser
    if engine is None:
        raise MlkdcError(f"{title(trt)} cannot build an engine: {messages.errors()}")
    return bytes(engine)


def _parse(trt: Any, graph: Any, network: Any) -> Any:
    """Fill the network with what the graph holds; the parser that did."""
    parser = trt.OnnxParser(network, log(trt))
    if parser.parse(graph.SerializeToString()):
        return parser
    reason = "it does not say why"
    if parser.num_errors:
        error = parser.get_error(0)
        reason = f"{error.node_name() or 'graph'}: {error.desc()}"
    raise MlkdcError(f"{title(trt)} cannot parse the exported graph ({reason}); try precision fp32")
