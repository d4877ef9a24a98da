"""How someone is asked to open the page: its address, and a QR code where segno is installed."""

import io
import socket
from importlib.util import find_spec

ANYWHERE = ("0.0.0.0", "")


def reachable_host(host: str) -> str:
    """The name under which others reach what listens on ``host``; nothing is sent to find out."""
    if host not in ANYWHERE:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # An address for documentation: connecting a datagram socket only chooses the interface.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def invitation(url: str, seconds: float) -> list[str]:
    """The lines to say."""
    lines = [f"open this address in the browser that is to be measured, within {seconds:g} s:", f"  {url}"]
    if find_spec("segno"):
        return [*lines, *qr_lines(url)]
    return [*lines, "  (with `pip install 'mlkdc[browser]'` a QR code is shown here)"]


def qr_lines(text: str) -> list[str]:
    """A QR code in characters."""
    import segno

    stream = io.StringIO()
    segno.make(text, error="l").terminal(stream, compact=True)
    return stream.getvalue().splitlines()
