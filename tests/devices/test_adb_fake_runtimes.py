"""A fake phone whose programs run real LiteRT and ExecuTorch models: parity through their output files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from android import Android
from fake_adbd import FakePhone
from phone_programs import BENCHMARK_MODEL, EXECUTOR_RUNNER, LOGCAT
from samples import make_manifest
from torch import nn

from mlkdc.devices.adb import AdbDevice
from mlkdc.devices.base import Load, Subject
from mlkdc.records.manifest import InputSpec

pytestmark = [pytest.mark.converter, pytest.mark.slow, pytest.mark.timeout(600)]
SIZE = 16


class Tiny(nn.Module):
    """Takes [1, s, s, 3] or [1, 3, s, s]."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layout = layout
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.layout == "NHWC":
            x = x.permute(0, 3, 1, 2)
        return torch.sigmoid(self.conv(x / 255).mean((2, 3)) * 4)


def check(phone: FakePhone, options: str, subject: Subject, model: nn.Module) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, SIZE, SIZE), dtype=np.uint8)
    inputs = torch.from_numpy(pixels.astype(np.float32))
    if model.layout == "NHWC":
        inputs = inputs.permute(0, 2, 3, 1)
    with torch.no_grad():
        expected = torch.cat([model(image[None]) for image in inputs]).numpy()
    assert np.ptp(expected) > 0.05
    with AdbDevice(f"adb://{phone.serial}?{options}") as device:
        device.open()
        np.testing.assert_allclose(device.answers(subject, pixels), expected, atol=1e-5)
        turn = device.turn(subject, Load(threads=1, least_runs=20, least_seconds=0.2))
    assert turn.runs >= 20
    assert 0 < turn.median_ms < 100


def test_litert(phone: FakePhone, android: Android, tmp_path: Path) -> None:
    litert_torch = pytest.importorskip("litert_torch")
    pytest.importorskip("ai_edge_litert")
    model = Tiny("NHWC").eval()
    shape = (1, SIZE, SIZE, 3)
    litert_torch.convert(model, (torch.zeros(shape),)).export(str(tmp_path / "model.tflite"))
    spec = InputSpec(name="image", shape=shape, layout="NHWC", dtype="float32")
    manifest = make_manifest(tmp_path, ["model.tflite"], size=SIZE, runtime="litert", input=spec)
    program = android.add_python("benchmark_model", BENCHMARK_MODEL)
    check(phone, f"benchmark_model={program}", Subject(tmp_path, manifest), model)


def test_executorch(phone: FakePhone, android: Android, tmp_path: Path) -> None:
    exir = pytest.importorskip("executorch.exir")
    model = Tiny("NCHW").eval()
    program = torch.export.export(model, (torch.zeros(1, 3, SIZE, SIZE),))
    lowered = exir.to_edge_transform_and_lower(program).to_executorch()
    (tmp_path / "model.pte").write_bytes(lowered.buffer)
    manifest = make_manifest(tmp_path, ["model.pte"], size=SIZE, runtime="executorch")
    android.add("logcat", LOGCAT)
    runner = android.add_python("executor_runner", EXECUTOR_RUNNER)
    check(phone, f"executor_runner={runner}", Subject(tmp_path, manifest), model)
