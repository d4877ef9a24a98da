"""An engine of TensorRT, or of TensorRT-RTX, which needs no GPU to build one."""

import importlib.util
from dataclasses import replace
from typing import Any

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.exporting.formats import EXPORTERS, INPUT, Built, Job
from mlkdc.exporting.formats.onnx import FILE, onnx_graph, save
from mlkdc.exporting.half import to_half
from mlkdc.exporting.merging.merge import for_half
from mlkdc.runtime import cuda
from mlkdc.runtime.backends.tensorrt import ENGINE, load_library, log, title

# Of a batch of any size: the smallest, the one that kernels are chosen for, and the largest, that of a session.
BATCHES = (1, 8, 32)
# What an engine of TensorRT-RTX is for if nothing else is asked for: its documentation names 8.0, 8.6, 8.9, 12.0 and
# later. Turing (7.5) would need an engine of its own, and takes no matrix product in float32.
RTX_CAPABILITY = "8.0+"


@EXPORTERS.register("tensorrt")
def export_tensorrt(job: Job) -> Built:
    """Write ``model.engine``, and ``model.onnx``, which it was built from: to compare it, or to build it elsewhere.

    The graph's types are the engine's, layer by layer: for fp16 it is in half precision but for its two ends
    (:func:`~mlkdc.exporting.half.to_half`), for int8 it has explicit scales and is in half precision where it has none.

    Raises:
        UsageError: TensorRT is installed and there is no GPU, or neither library can be imported.
        MlkdcError: the graph was not exported, not parsed, or not built; the message is the library's.
    """
    from mlkdc.exporting.int8.qdq import quantize

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
    return Built([ENGINE, FILE], _details(trt, job))


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


def _details(trt: Any, job: Job) -> dict[str, Any]:
    rtx = trt.__name__ == "tensorrt_rtx"
    name, capability = (None, RTX_CAPABILITY) if rtx else _this_gpu()
    return {
        "library": trt.__name__,
        "version": trt.__version__,
        "compute_capability": capability,
        "gpu": name,
        "batch": list(BATCHES) if job.dynamic else [1, 1, 1],
        "needs": f"an NVIDIA GPU of compute capability {capability} and {title(trt)}, "
        "no other version; elsewhere export again",
    }


def _this_gpu() -> tuple[str, str]:
    name, capability = cuda.gpu()
    return name, ".".join(map(str, capability))


def _build(trt: Any, graph: Any, job: Job) -> bytes:
    said = log(trt)
    said.errors()  # those of before are not this engine's
    builder = trt.Builder(said)
    # Each tensor has the type that the graph gives it, none that would be faster. TensorRT-RTX and TensorRT from 11
    # on know no other way.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, said)
    if not parser.parse(graph.SerializeToString()):
        faults = [parser.get_error(index) for index in range(parser.num_errors)]
        told = "; ".join(f"{each.node_name() or 'graph'}: {each.desc()}" for each in faults[:1])
        raise MlkdcError(f"{title(trt)} cannot parse the exported graph ({told}); try precision fp32")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 with the mantissa of a half is no fp32
    if job.dynamic:
        profile = builder.create_optimization_profile()
        profile.set_shape(INPUT, *((size, *job.input_shape[1:]) for size in BATCHES))
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise MlkdcError(f"{title(trt)} cannot build an engine: {said.errors()}")
    return bytes(engine)
