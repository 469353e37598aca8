"""Tell a service manager how the server is: sd_notify(3), where there is one."""

import os
import socket
from contextlib import suppress


def notify(text: str) -> None:
    """Send *text* (``READY=1``, ``STOPPING=1``) to whoever has started us, if they listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
        line.sendall(text.encode())
