"""How a browser is brought to the page: by an address, a QR code, a port on a phone (here of a fake adb)."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from fake_page import FakePage, Invited

from mlkdc.devices.base import DeviceLost
from mlkdc.devices.browser import BrowserDevice, invite
from mlkdc.devices.urls import device_at
from mlkdc.errors import UsageError

URL = "http://192.0.2.7:8000/2Fq0hW-7Lw/"

FAKE_ADB = """#!/bin/sh
echo "$*" >> {folder}/log
case "$*" in
  "-s PHONE reverse --list") cat {folder}/ports ;;
  "-s PHONE reverse --remove "*) : > {folder}/ports ;;
  "-s PHONE reverse tcp:"*) echo "UsbFfs $4 $5" > {folder}/ports ;;
  "-s GONE "*) exit 0 ;;
  *) echo "adb: device 'LOCKED' unauthorized" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "fake"
    folder.mkdir()
    program = folder / "adb"
    program.write_text(FAKE_ADB.format(folder=folder))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_without_segno_the_address_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invite, "find_spec", lambda name: None)
    lines = invite.invitation(URL, 300)
    assert f"  {URL}" in lines
    assert "within 300 s" in lines[0]
    assert "pip install 'mlkdc[browser]'" in lines[-1]


@pytest.mark.skipif(find_spec("segno") is None, reason="segno is not installed")
def test_with_segno_there_is_a_qr_code() -> None:
    import segno

    lines = invite.invitation(URL, 300)
    assert f"  {URL}" in lines
    code = segno.make(URL, error="l")
    _, height = code.symbol_size(border=4)
    assert len(lines) - 2 >= height // 2
    assert not any("pip install" in line for line in lines)


def test_the_address_that_others_reach() -> None:
    assert invite.reachable_host("127.0.0.1") == "127.0.0.1"
    assert invite.reachable_host("box.local") == "box.local"
    assert invite.reachable_host("0.0.0.0") not in ("0.0.0.0", "")


def test_a_phone_opens_localhost_and_the_port_is_removed_afterwards_with_a_fake_adb(adb: Path) -> None:
    listener = Invited(lambda page: None)
    said: list[str] = []

    def hear(text: str) -> None:
        said.append(text)
        listener.say(text.replace("localhost", "127.0.0.1"))

    listener.behave = greet
    with BrowserDevice("browser+adb://PHONE", hear) as connected:
        assert connected.open().machine.cpu == "Phone 9"
        server = connected._server
        assert server is not None
        assert (adb / "ports").read_text() == f"UsbFfs tcp:{server.port} tcp:{server.port}\n"
        assert f"  http://localhost:{server.port}{server.path}" in said
    assert (adb / "ports").read_text() == ""


def greet(page: FakePage) -> None:
    page.hello()


@pytest.mark.parametrize(
    ("serial", "reason"),
    [("GONE", "it gave no reason"), ("LOCKED", "adb: device 'LOCKED' unauthorized")],
)
def test_a_phone_that_is_not_there_with_a_fake_adb(adb: Path, serial: str, reason: str) -> None:
    with (
        device_at(f"browser+adb://{serial}") as connected,
        pytest.raises(DeviceLost, match=rf"adb could not make tcp:\d+ reachable on {serial} \({reason}\)"),
    ):
        connected.open()


def test_without_adb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with device_at("browser+adb://PHONE") as connected, pytest.raises(UsageError, match="found no adb on the PATH"):
        connected.open()


def test_a_phone_takes_no_host() -> None:
    with pytest.raises(UsageError, match="leave host out"):
        device_at("browser+adb://PHONE?host=0.0.0.0")
