"""ncnn, as two files: the net in text and its weights. pnnx makes them from a TorchScript trace."""

import re
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch

from mlkdc.errors import MlkdcError, first_line
from mlkdc.exporting.formats import EXPORTERS
from mlkdc.exporting.job import INPUT, OUTPUT, Built, Job
from mlkdc.exporting.merging.model import ExportModel, for_half
from mlkdc.records.manifest import RuntimeDetails
from mlkdc.runtime.backends.ncnn import MARK, OPTIONS
from mlkdc.runtime.metadata import fingerprint

PARAM, WEIGHTS = "model.ncnn.param", "model.ncnn.bin"


@EXPORTERS.register("ncnn")
def export_ncnn(job: Job) -> Built:
    """Write ``model.ncnn.param`` and ``model.ncnn.bin``; the details have the ``ncnn::Option`` fields to set.

    Raises:
        MlkdcError: the model cannot be traced or converted, or ncnn has no layer for one of its operators.
    """
    model = job.model
    if job.precision == "fp16":
        model = for_half(model, job.input_shape)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        _trace(model, job.input_shape, scratch / "model.pt")
        _convert(job, scratch)
        net = _named((scratch / PARAM).read_text(encoding="utf-8"), job)
        _check_layers(net)
        (job.folder / PARAM).write_text(net, encoding="utf-8")
        shutil.copyfile(scratch / WEIGHTS, job.folder / WEIGHTS)
    return Built([PARAM, WEIGHTS], RuntimeDetails(ncnn_options=OPTIONS[job.precision]))


def _trace(model: ExportModel, shape: tuple[int, ...], path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, and the only thing that pnnx reads
            # Not checked by tracing twice: the result is compared.
            trace = torch.jit.trace(model, torch.zeros(shape), check_trace=False)  # type: ignore[no-untyped-call]
            trace.save(str(path))
    except RuntimeError as error:
        raise MlkdcError(
            f"torch.jit could not trace the model ({first_line(error)}); "
            "this architecture may not be exportable to ncnn"
        ) from error


def _convert(job: Job, folder: Path) -> None:
    """Run pnnx in a separate process and folder: it leaves a dozen files, and prints all it does."""
    import pnnx

    shape = ",".join(map(str, job.input_shape))
    command = [pnnx.EXEC_PATH, "model.pt", f"inputshape=[{shape}]", f"fp16={int(job.precision == 'fp16')}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or not (folder / PARAM).is_file():
        cause = _last_words(done.stderr) or f"exit code {done.returncode}"
        raise MlkdcError(f"pnnx could not convert the model ({cause}); this architecture may not be exportable to ncnn")


def _last_words(output: str) -> str:
    """The last line that is no setting, pass or ruler; pnnx prints those after an error too."""
    for line in reversed(output.splitlines()):
        is_news = " = " in line or line.startswith(("#", "-", "get inputshape", "inline module"))
        if line.strip() and not is_news:
            return line
    return ""


def _named(net: str, job: Job) -> str:
    """The net with its ends named as in all formats, and with what pnnx does not write: the input's size and a mark."""
    for blob, name in (("in0", INPUT), ("out0", OUTPUT)):
        net = re.sub(rf"(?<!\S){blob}(?!\S)", name, net)
    _, channels, height, width = job.input_shape
    numbers = f"0={width} 1={height} 2={channels}"
    if job.metadata:
        numbers += f" {MARK}={fingerprint(job.metadata)}"
    return re.sub(r"^(Input .*\S)", rf"\1 {numbers}", net, count=1, flags=re.MULTILINE)


def _check_layers(net: str) -> None:
    """pnnx writes what it cannot translate as it was, and says nothing."""
    import ncnn

    kinds = {line.split()[0] for line in net.splitlines()[2:]}
    unknown = sorted(kind for kind in kinds if ncnn.layer_to_index(kind) < 0)
    if unknown:
        raise MlkdcError(f"ncnn has no layer for {', '.join(unknown)}; another target may run this architecture")
