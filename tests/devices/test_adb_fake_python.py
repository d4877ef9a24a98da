"""A fake phone with Python: the agent over the real adb server."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from android import FIXED, Android
from fake_adbd import FakePhone
from phones import Plug
from PIL import Image

from mlkdc.devices.adb.device import PYTHONS
from mlkdc.devices.agent import AgentDevice, Hello
from mlkdc.devices.base import DeviceLost, Load, Subject
from mlkdc.devices.urls import device_at
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.bench import DeviceInfo
from mlkdc.records.manifest import Manifest
from mlkdc.runtime.timing import KEPT_SAMPLES

Expected = Callable[[np.ndarray], np.ndarray]

QUICK = Load(threads=1, least_runs=10, least_seconds=0.1)


@pytest.fixture
def subject(make_artifact: Callable[..., Path]) -> Subject:
    """An ONNX artifact with known mathematics."""
    folder = make_artifact()
    return Subject(folder, Manifest.load(folder))


def url(phone: FakePhone, python: str = sys.executable) -> str:
    return f"adb://{phone.serial}?python={python}"


def test_the_agent_times_and_answers(
    phone: FakePhone, android: Android, subject: Subject, images: np.ndarray, expected: Expected, tmp_path: Path
) -> None:
    with device_at(url(phone)) as device:
        info = device.open()
        assert info.machine.cpu == "Acme AC900 fake"
        assert info.python is not None
        assert info.agent_sha256 is not None
        assert "Fixed performance mode was on while it was measured." in info.notes
        android.thermal(0, 44.0)
        turn = device.turn(subject, QUICK)
        assert len(turn.samples_us) == min(turn.runs, KEPT_SAMPLES)
        assert turn.conditions.cpu_fraction is not None
        assert turn.conditions.throttled == ""
        np.testing.assert_allclose(device.answers(subject, images), expected(images), atol=1e-6)
        photo = tmp_path / "photo.PNG"
        Image.new("RGB", (1000, 500)).save(photo)
        times = device.photos(subject, [photo, photo], 1)
        assert (times.photos, times.megapixels) == (2, 0.5)
        assert list(phone.tmp.iterdir())
        android.screen(on=False)
        with pytest.raises(DeviceLost, match="went dark while it measured"):
            device.photos(subject, [photo], 1)
    assert list(phone.tmp.iterdir()) == []
    assert android.calls[-1] == f"{FIXED}false"


@pytest.mark.parametrize("agents", [None, 70.0])
def test_the_temperature_is_the_phones(
    phone: FakePhone, android: Android, monkeypatch: pytest.MonkeyPatch, agents: float | None
) -> None:
    """Also where its programs cannot read one, and of the moment when no other measures it."""
    described = AgentDevice._described

    def with_sensor(device: AgentDevice, facts: Hello) -> DeviceInfo:
        return described(device, facts.model_copy(update={"celsius": agents}))

    monkeypatch.setattr(AgentDevice, "_described", with_sensor)
    monkeypatch.setattr(AgentDevice, "claim", lambda device: True)
    with device_at(url(phone)) as device:
        assert not any("no temperature sensor" in note for note in device.open().notes)
        android.thermal(0, 44.0)
        assert device.claim()
        assert device.start_celsius == 44


def test_python_is_found(phone: FakePhone, android: Android) -> None:
    android.add(PYTHONS[0], f'exec {sys.executable} "$@"')
    with device_at(f"adb://{phone.serial}") as device:
        assert device.open().python is not None


def test_no_python_and_no_program(phone: FakePhone, android: Android) -> None:
    android.add("python3", "echo not found >&2; exit 127")
    with pytest.raises(UsageError, match=r"no Python that adb may start: .*\?benchmark_model=PATH.*Termux.*ssh://"):
        device_at(f"adb://{phone.serial}").open()
    with pytest.raises(UsageError, match="has no Python that starts at /no/python"):
        device_at(url(phone, "/no/python")).open()
    assert not any(call.startswith(FIXED) for call in android.calls)


def test_an_agent_that_cannot_start(phone: FakePhone, android: Android) -> None:
    """The phone is left as it was."""
    code = f'case "$2" in "import sys") exit 0 ;; esac; exec {sys.executable} -S -c "raise SystemExit(\'no room\')"'
    python = android.add("broken", code)
    with pytest.raises(MlkdcError, match="no room"):
        device_at(url(phone, str(python))).open()
    assert android.calls[-1] == f"{FIXED}false"
    assert list(phone.tmp.iterdir()) == []


def test_unplugged_in_a_turn(plug: Plug, android: Android, subject: Subject) -> None:
    phone = plug(unplug_at="base64", unplug_after=4.0)
    device = device_at(url(phone))
    device.open()
    with pytest.raises(DeviceLost, match=f"{phone.serial}.* was "):
        device.turn(subject, Load(threads=1, least_seconds=60))
    device.close()
    android.wait_until_restored(phone.tmp)


@pytest.mark.parametrize("name", ["adb:/x", "adb", "adbx://y"])
def test_what_is_no_phone(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown device .*adb://\[SERIAL\]"):
        device_at(name)
