"""ncnn, as two files: the net in text and its weights. pnnx makes them from a TorchScript trace."""

import re
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch

from mlkdc.errors import MlkdcError, first_line
from mlkdc.exporting.formats import EXPORTERS, INPUT, OUTPUT, Built, Job
from mlkdc.exporting.merging.merge import ExportModel, for_half
from mlkdc.runtime.backends.ncnn import OPTIONS

PARAM, WEIGHTS = "model.ncnn.param", "model.ncnn.bin"


@EXPORTERS.register("ncnn")
def export_ncnn(job: Job) -> Built:
    """Write ``model.ncnn.param`` and ``model.ncnn.bin``; the manifest tells the ``ncnn::Option`` fields to set.

    Raises:
        MlkdcError: the model cannot be traced or converted, or an operator of it is none of ncnn's layers.
    """
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        model = for_half(job.model, job.input_shape) if job.precision == "fp16" else job.model
        _trace(model, job.input_shape, scratch / "model.pt")
        _convert(job, scratch)
        net = _named((scratch / PARAM).read_text(), job)
        _check_layers(net)
        (job.folder / PARAM).write_text(net)
        shutil.copyfile(scratch / WEIGHTS, job.folder / WEIGHTS)
    return Built([PARAM, WEIGHTS], {"options": OPTIONS[job.precision]})


def _trace(model: ExportModel, shape: tuple[int, ...], path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, and the only thing that pnnx reads
            # Not checked by tracing twice: the result is compared.
            torch.jit.trace(model, torch.zeros(shape), check_trace=False).save(str(path))
    except RuntimeError as error:
        raise MlkdcError(
            f"torch.jit could not trace the model ({first_line(error)}); "
            "this architecture may not be exportable to ncnn"
        ) from error


def _convert(job: Job, folder: Path) -> None:
    """Run pnnx in a process and folder of its own: it leaves a dozen files, and prints all it does."""
    import pnnx

    shape = ",".join(map(str, job.input_shape))
    command = [pnnx.EXEC_PATH, "model.pt", f"inputshape=[{shape}]", f"fp16={int(job.precision == 'fp16')}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode or not (folder / PARAM).is_file():
        said = [line for line in done.stderr.splitlines() if line.strip() and not _is_news(line)]
        cause = said[-1] if said else f"exit code {done.returncode}"
        raise MlkdcError(f"pnnx could not convert the model ({cause}); this architecture may not be exportable to ncnn")


def _is_news(line: str) -> bool:
    """Settings, passes and rulers."""
    return " = " in line or line.startswith(("#", "-", "get inputshape", "inline module"))


def _named(net: str, job: Job) -> str:
    """The net with its ends named as in all formats, and the input's size, which pnnx leaves out."""
    for given, name in (("in0", INPUT), ("out0", OUTPUT)):
        net = re.sub(rf"(?<!\S){given}(?!\S)", name, net)
    _, channels, height, width = job.input_shape
    return re.sub(r"^(Input .*\S)", rf"\1 0={width} 1={height} 2={channels}", net, count=1, flags=re.MULTILINE)


def _check_layers(net: str) -> None:
    """pnnx writes what it cannot translate as it was, and says nothing."""
    import ncnn

    kinds = {line.split()[0] for line in net.splitlines()[2:]}
    if unknown := sorted(kind for kind in kinds if ncnn.layer_to_index(kind) < 0):
        raise MlkdcError(f"ncnn has no layer for {', '.join(unknown)}; another target may run this architecture")
