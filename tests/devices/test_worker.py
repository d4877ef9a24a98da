"""The worker as a process, and what the measuring half may load."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_artifacts import SIZE
from waiting import vanished, waited_for

from mlkdc.agent.worker import SPEC_FILE, main
from mlkdc.devices.bootstrap import archive
from mlkdc.images import load_square
from mlkdc.records.bench import PhotoTiming, Turn
from mlkdc.records.manifest import Manifest
from mlkdc.runtime.base import RUNTIMES
from mlkdc.runtime.model import Model, load_backend
from mlkdc.runtime.photos import time_photos
from mlkdc.runtime.session import spec_of
from mlkdc.runtime.spec import ModelSpec


@pytest.fixture
def pushed(make_artifact):
    """A folder as it lies on a device."""

    def make(**values) -> Path:
        folder = make_artifact(**values)
        (folder / SPEC_FILE).write_text(spec_of(Manifest.load(folder)).to_json())
        return folder

    return make


def worker(*arguments) -> subprocess.CompletedProcess:
    code = "import sys; from mlkdc.agent.worker import main; sys.exit(main())"
    argv = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_predict_writes_probabilities(pushed, images, expected, tmp_path, dtype):
    np.save(tmp_path / "images.npy", images.astype(dtype))
    out = tmp_path / "out.npy"
    assert main(["predict", str(pushed()), str(tmp_path / "images.npy"), str(out), "--threads", "1"]) == 0
    found = np.load(out)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(images), atol=1e-6)


def test_time_in_its_own_process_prints_one_turn(pushed):
    done = worker("time", pushed(dtype="uint8"), "--runs", 200, "--seconds", 0.2, "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert set(json.loads(done.stdout)) == set(Turn.model_fields)
    turn = Turn.model_validate_json(done.stdout)
    assert turn.runs >= 200
    assert 0 < turn.min_ms <= turn.median_ms <= turn.p90_ms


def test_cpu_time_says_nothing_of_what_computes_elsewhere(pushed, monkeypatch, capsys):
    assert {name for name, backend in RUNTIMES.items() if not backend.on_processor} == {"coreml", "tensorrt"}
    arguments = ["time", str(pushed()), "--seconds", "0.1", "--threads", "1"]
    for on_processor in (True, False):
        monkeypatch.setattr(RUNTIMES.get("onnxruntime"), "on_processor", on_processor)
        assert main(arguments) == 0
        turn = Turn.model_validate_json(capsys.readouterr().out)
        assert (turn.conditions.cpu_fraction is not None) == on_processor


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    """A small one and a large one, lying on its side."""
    files = [tmp_path / "photos" / "small.png", tmp_path / "photos" / "large.jpg"]
    files[0].parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)).save(files[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (2000, 1000, 3), np.uint8)).save(files[1], exif=exif)
    return files


def test_photos_are_timed_from_their_files(pushed, photos):
    done = worker("photos", pushed(), *photos, "--fit", "stretch", "--threads", 1)
    assert done.returncode == 0, done.stderr
    times = PhotoTiming.model_validate_json(done.stdout)
    assert times.photos == 2
    assert times.megapixels == pytest.approx((12 * 9 + 2000 * 1000) / 2 / 1e6)
    assert times.prepare_ms + times.run_ms == pytest.approx(times.total_ms)
    small = PhotoTiming.model_validate_json(
        worker("photos", pushed(), photos[0], "--fit", "stretch", "--threads", 1).stdout
    )
    # 2 megapixels of noise take tens of milliseconds to decode, 108 pixels far less than one.
    assert 2 * times.prepare_ms > 5 * small.prepare_ms


def test_the_model_sees_the_pixels_that_predict_shows_it(pushed, photos):
    seen = []

    class Spy(Model):
        def predict(self, images, batch_size=1):
            seen.append(images)
            return super().predict(images, batch_size)

    folder = pushed()
    ticks = itertools.count(step=1_000_000)
    spec = spec_of(Manifest.load(folder))
    with Spy(spec, load_backend(folder, spec, 1)) as model:
        times = time_photos(model, photos, "pad", clock=lambda: next(ticks))
    assert [pixels.shape for pixels in seen] == [(1, 3, SIZE, SIZE)] * 3, "the first one twice"
    for file, pixels in zip(photos, seen[1:], strict=True):
        np.testing.assert_array_equal(pixels[0].transpose(1, 2, 0), load_square(file, SIZE, "pad"))
    assert (times.prepare_ms, times.run_ms, times.total_ms, times.p90_ms) == (1, 1, 2, 2)


def test_photos_need_pillow(pushed, photos, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlkdc.runtime.photos", None)
    assert main(["photos", str(pushed()), str(photos[0]), "--fit", "stretch", "--threads", "1"]) == 2
    assert "-m pip install pillow" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux")
def test_a_worker_ends_with_a_killed_agent(pushed, tmp_path):
    (tmp_path / "agent.pyz").write_bytes(archive())
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, *sys.argv[1:]])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()"
    )
    command = [sys.executable, "-c", code, tmp_path / "agent.pyz", "time", pushed(), "--threads", "1"]
    with subprocess.Popen([*map(str, command), "--seconds", "60"], stdout=subprocess.PIPE, text=True) as agent:
        place = Path("/proc") / agent.stdout.readline().strip()
        try:
            assert waited_for(lambda: "onnxruntime" in (place / "maps").read_text(), seconds=30)
        finally:
            agent.kill()
    assert vanished(place, seconds=10)


def test_an_error_is_one_line_and_exit_code_2(pushed):
    folder = pushed()
    (folder / "model.onnx").write_bytes(b"")
    done = worker("time", folder, "--threads", 1)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "ONNX Runtime cannot load" in done.stderr


def test_predict_refuses_what_is_no_array(pushed, tmp_path, capsys):
    (tmp_path / "images.npy").write_bytes(b"text")
    assert main(["predict", str(pushed()), str(tmp_path / "images.npy"), str(tmp_path / "o.npy")]) == 2
    assert "expected a .npy array of images" in capsys.readouterr().err
    assert not (tmp_path / "o.npy").exists()


def test_a_spec_comes_out_of_the_pipe_as_it_went_in(make_artifact):
    spec = spec_of(Manifest.load(make_artifact(dynamic=True)))
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert (spec.image_size, spec.classes, spec.dynamic_batch) == (8, 3, True)


def test_the_measuring_half_loads_no_training_code():
    code = (
        "import sys, mlkdc.bench, mlkdc.devices, mlkdc.runtime, mlkdc.agent.worker\n"
        "from mlkdc.runtime.base import RUNTIMES\n"
        "RUNTIMES.names()\n"
        "heavy = {'torch', 'torchvision', 'timm', 'accelerate', 'sklearn', 'onnx', 'onnxruntime'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
