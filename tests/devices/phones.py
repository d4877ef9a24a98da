"""A real adb server on a port of its own, and fake phones."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from android import Android
from fake_adbd import FakePhone
from ports import free_port

Plug = Callable[..., FakePhone]


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables with which adb speaks to a server that no other program uses."""
    program = shutil.which("adb")
    if program is None:
        pytest.skip("needs adb (Debian: apt install adb)")
    home = tmp_path_factory.mktemp("adb")
    port = free_port()
    variables = {"ANDROID_ADB_SERVER_PORT": str(port), "HOME": str(home), "ANDROID_USER_HOME": str(home)}
    server = subprocess.Popen(
        [program, "nodaemon", "server"],
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, server)
        yield variables
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(100):
        assert server.poll() is None, "adb's server ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("adb's server does not listen")


@pytest.fixture
def android(tmp_path: Path) -> Android:
    """The phone's own programs."""
    return Android(tmp_path / "programs")


@pytest.fixture
def plug(
    adb_server: dict[str, str], android: Android, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Plug]:
    """``plug(**options)``: another fake phone that adb sees; unplugged after the test."""
    for name, value in adb_server.items():
        monkeypatch.setenv(name, value)
    phones: list[FakePhone] = []

    def make(**options: object) -> FakePhone:
        folder = tmp_path / f"phone{len(phones)}"
        folder.mkdir()
        phone = FakePhone(folder, android.folder, **options)  # type: ignore[arg-type]
        phones.append(phone)
        subprocess.run(["adb", "connect", phone.serial], check=True, capture_output=True)
        return phone

    yield make
    for phone in phones:
        phone.close()
        subprocess.run(["adb", "disconnect", phone.serial], check=False, capture_output=True)


@pytest.fixture
def phone(plug: Plug) -> FakePhone:
    """The only phone."""
    return plug()
