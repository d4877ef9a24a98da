"""A TCP port for a server that a test starts."""

import socket


def free_port() -> int:
    """One of this machine's own address that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]
