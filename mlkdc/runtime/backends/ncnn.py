"""ncnn on the CPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.runtime.base import RUNTIMES, Backend, check_signature, import_error
from mlkdc.runtime.metadata import FINGERPRINT
from mlkdc.runtime.spec import ModelSpec

# By default ncnn stores weights and activations in half precision, and computes in it, wherever the CPU can. bfloat16
# has 8 bits: answers are off by several hundredths.
_FLOAT = {"use_fp16_arithmetic": False, "use_bf16_packed": False, "use_bf16_storage": False}
#: Fields of ``ncnn::Option``, by precision; to be set before a net is loaded.
OPTIONS = {
    "fp32": {"use_fp16_packed": False, "use_fp16_storage": False, **_FLOAT},
    "fp16": {"use_fp16_packed": True, "use_fp16_storage": True, **_FLOAT},
}
#: Of the input's numbered parameters, which ncnn itself reads some of (0: width, 1: height, 2: channels, 11: depth).
MARK = "19"


@RUNTIMES.register("ncnn")
class Ncnn(Backend):
    """A ``Net`` of a .param and a .bin file, for one image at a time: ncnn has no batch dimension.

    All other options are ncnn's defaults: without the packed layout, Winograd or SGEMM it was slower.
    """

    def __init__(self, folder: Path, spec: ModelSpec, threads: int | None) -> None:
        param, weights = spec.only_file(folder, ".param"), spec.only_file(folder, ".bin")
        self._ncnn, self._net = _load(param, weights, spec.precision, threads)
        self._input, self._output = spec.input.name, spec.output.name
        self._numbers = _input_numbers(param)
        _check_signature(param, self._net, self._numbers, spec)
        # A net does not say what it gives; one run does.
        shape = self.run(np.zeros(spec.input.shape, np.float32)).shape
        if shape != spec.output.shape:
            raise UsageError(
                f"{param}: the manifest says output of shape {list(spec.output.shape)}, the net gives "
                f"{list(shape)}; export the run again"
            )

    def run(self, batch: np.ndarray) -> np.ndarray:
        if len(batch) != 1:
            raise UsageError(f"ncnn takes one image at a time, got {len(batch)}")
        extractor = self._net.create_extractor()
        # A copy: ncnn needs each channel at an aligned address, and separate memory to compute in place.
        extractor.input(self._input, self._ncnn.Mat(batch[0]).clone())
        code, probabilities = extractor.extract(self._output)
        if code:
            raise MlkdcError(f"ncnn could not compute {self._output!r} (code {code}); is there enough memory?")
        return np.array(probabilities)[None]

    def metadata(self) -> dict[str, str]:
        if MARK not in self._numbers:
            return {}
        return {FINGERPRINT: str(self._numbers[MARK])}

    def close(self) -> None:
        del self._net


def _load(param: Path, weights: Path, precision: str, threads: int | None) -> tuple[Any, Any]:
    """The module and a net. What is wrong with a file ncnn prints on stderr itself."""
    try:
        import ncnn
    except ImportError as error:
        raise import_error("ncnn", error, "ncnn-runtime") from None
    if precision not in OPTIONS:
        raise UsageError(f"{param}: ncnn artifacts are {' or '.join(OPTIONS)}, got {precision!r}; export the run again")
    net = ncnn.Net()
    for name, value in OPTIONS[precision].items():
        setattr(net.opt, name, value)
    if threads:
        net.opt.num_threads = threads
    if net.load_param(str(param)):
        raise UsageError(f"ncnn {ncnn.__version__} cannot load {param}: damaged, or with unknown layers; export again")
    if net.load_model(str(weights)):
        raise UsageError(f"ncnn cannot load {weights}: truncated, or of another net than {param.name}; export again")
    return ncnn, net


def _check_signature(path: Path, net: Any, sizes: Mapping[str, int], spec: ModelSpec) -> None:
    """A net that takes or gives something else than the manifest says is refused before it is run."""
    shape = [1, *(sizes.get(key, 0) for key in ("2", "1", "0"))]
    inputs = [(name, "float32", shape) for name in net.input_names()]
    # What shape it gives only a run shows, and all in it is float32.
    outputs = [(name, "float32", list(spec.output.shape)) for name in net.output_names()]
    check_signature(path, spec, inputs, outputs)


def _input_numbers(path: Path) -> dict[str, int]:
    """The input's parameters; ncnn computes the same whatever they are."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("Input"):
            pairs = [part.split("=") for part in line.split() if "=" in part]
            return {key: int(value) for key, value in pairs}
    return {}
