import pytest
from phones import adb_server, android, phone, plug
from ssh_servers import openssh

__all__ = ["adb_server", "android", "phone", "plug"]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    """An OpenSSH server on loopback, with keys of its own."""
    server = openssh(tmp_path_factory.mktemp("sshd"))
    yield server
    server.process.terminate()
    server.process.wait(timeout=10)
