"""ncnn on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.manifest import Manifest
from mlkdc.runtime.base import RUNTIMES, Backend

# ncnn's own defaults store weights and what flows between layers in half precision, and compute in it, wherever the
# CPU can. bfloat16 has 8 bits: answers are off by several hundredths.
_FLOAT = {"use_fp16_arithmetic": False, "use_bf16_packed": False, "use_bf16_storage": False}
#: Fields of ``ncnn::Option``, by precision; to be set before a net is loaded.
OPTIONS = {
    "fp32": {"use_fp16_packed": False, "use_fp16_storage": False, **_FLOAT},
    "fp16": {"use_fp16_packed": True, "use_fp16_storage": True, **_FLOAT},
}


@RUNTIMES.register("ncnn")
class Ncnn(Backend):
    """A ``Net`` of a .param and a .bin file, for one picture at a time: ncnn has no batch dimension.

    All else is as ncnn has it. At 224 px without the packed layout MobileNetV2 took 1.3 and RepVGG-A0 1.1 times as
    long, RepVGG-A0 without Winograd 1.5 and without SGEMM 1.35 times; pools of memory gained nothing.
    """

    def __init__(self, folder: Path, manifest: Manifest, threads: int | None) -> None:
        param, weights = (manifest.only_file(folder, ending) for ending in (".param", ".bin"))
        self._ncnn, self._net = _load(param, weights, manifest.precision, threads)
        self._input, self._output = manifest.input["name"], manifest.output["name"]
        _check_signature(param, self._net, manifest)
        found = list(self.run(np.zeros(manifest.input["shape"], np.float32)).shape)
        if found != manifest.output["shape"]:
            raise UsageError(
                f"{param}: the manifest says output of shape {manifest.output['shape']}, the net gives {found}; "
                "export the run again"
            )

    def run(self, batch: np.ndarray) -> np.ndarray:
        extractor = self._net.create_extractor()
        # A copy: ncnn wants each channel at an aligned address, and to own what it may compute in place.
        extractor.input(self._input, self._ncnn.Mat(batch[0]).clone())
        code, probabilities = extractor.extract(self._output)
        if code:
            raise MlkdcError(f"ncnn could not compute {self._output!r} (code {code}); is there too little memory?")
        return np.array(probabilities)[None]

    def close(self) -> None:
        del self._net


def _load(param: Path, weights: Path, precision: str, threads: int | None) -> tuple[Any, Any]:
    """The module and a net; what ncnn has against a file it says on stderr itself."""
    try:
        import ncnn
    except ImportError as error:
        raise UsageError(
            f"this artifact needs ncnn, which cannot be imported ({error}); run: pip install 'mlkdc[ncnn]'"
        ) from None
    if precision not in OPTIONS:
        raise UsageError(f"{param}: ncnn artifacts are {' or '.join(OPTIONS)}, got {precision!r}; export the run again")
    net = ncnn.Net()
    for name, value in OPTIONS[precision].items():
        setattr(net.opt, name, value)
    if threads:
        net.opt.num_threads = threads
    if net.load_param(str(param)):
        raise UsageError(f"ncnn {ncnn.__version__} cannot load {param}: not a net of layers it has; export again")
    if net.load_model(str(weights)):
        raise UsageError(f"ncnn cannot load {weights}: cut short, or of another net than {param.name}; export again")
    return ncnn, net


def _check_signature(path: Path, net: Any, manifest: Manifest) -> None:
    """A net that takes or gives something else than the manifest says is refused before it is run."""
    names = manifest.input["name"], manifest.output["name"]
    expected = ([names[0]], [names[1]], manifest.input["shape"], "float32", False)
    found = (net.input_names(), net.output_names(), _input_shape(path), manifest.input["dtype"], manifest.dynamic_batch)
    if found != expected:
        raise UsageError(f"{path}: expected {expected}, got {found}; export the run again")


def _input_shape(path: Path) -> list[int]:
    """``[1, 3, h, w]`` as it stands in the input's parameters (0: width, 1: height, 2: channels); ncnn ignores them."""
    line = next((line for line in path.read_text().splitlines() if line.startswith("Input")), "")
    sizes = dict(pair.split("=") for pair in line.split() if "=" in pair)
    return [1, *(int(sizes.get(key, 0)) for key in "210")]
