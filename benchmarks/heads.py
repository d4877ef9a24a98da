"""What each head costs: multiply-adds, and latency in ONNX Runtime on one thread, all heads in turns.

    OMP_NUM_THREADS=1 python benchmarks/heads.py

MobileNetV2 with random weights, merged and exported as ``mlkdc export`` does it; the figures go to
benchmarks/results/heads.json.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from study import in_turns
from study_records import HeadRow, HeadsStudy

from mlkdc.exporting.formats import run_exporter
from mlkdc.exporting.job import INPUT, Job
from mlkdc.exporting.merging.merge import merge
from mlkdc.models import build_model
from mlkdc.recipe import Head, Model
from mlkdc.records.results import ModelSize
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions
from mlkdc.runtime.targets import load_target
from mlkdc.runtime.timing import measure

RESULTS = Path(__file__).parent / "results" / "heads.json"
HEADS = ("linear", "attention", "compact", "decoder")
SIZES, CLASSES = (96, 224), (20, 73, 80)
PASSES = 5


def exported(head: str, size: int, classes: int, folder: Path) -> tuple[onnxruntime.InferenceSession, ModelSize]:
    """A session of one thread, and the size of what it runs."""
    spec = Model(model="mobilenetv2", weights="none", head=Head.model_validate({"kind": head}))
    model, report = merge(build_model(spec, classes, size).eval(), size)
    target = load_target("onnx")
    shape = (1, 3, size, size)
    job = Job(model=model, folder=folder, target=target, precision="fp32", input_shape=shape, classes=classes)
    run_exporter(job)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(folder / "model.onnx", options), report.after


def milliseconds(session: onnxruntime.InferenceSession, image: dict[str, np.ndarray]) -> float:
    """The median of a call."""
    return measure(partial(session.run, None, image), runs=100).median_ms


def compared(size: int, classes: int) -> list[HeadRow]:
    """One row per head."""
    image = {INPUT: np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32) * 255}
    sessions, sizes = {}, {}
    for head in HEADS:
        with tempfile.TemporaryDirectory() as name:
            sessions[head], sizes[head] = exported(head, size, classes, Path(name))
    ways = {head: partial(milliseconds, session, image) for head, session in sessions.items()}
    rows = []
    for head, (median_ms, ratio) in in_turns(ways, PASSES, baseline=HEADS[0]).items():
        rows.append(
            HeadRow(
                head=head,
                image_size=size,
                classes=classes,
                size=sizes[head],
                median_ms=median_ms,
                ratio_to_linear=ratio,
            )
        )
    return rows


def main() -> None:
    """Measure and write it."""
    rows: list[HeadRow] = []
    for size in SIZES:
        for classes in CLASSES:
            rows += compared(size, classes)
    versions_used = versions(("mlkdc", "torch", "onnxruntime"))
    HeadsStudy(machine=machine(), versions=versions_used, rows=tuple(rows)).save_as(RESULTS)


if __name__ == "__main__":
    main()
