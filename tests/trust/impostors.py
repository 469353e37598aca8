"""Somebody in between, who has a certificate, but not the right one."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from muster.kit.identity.certificates import Issued, server_context


@dataclass
class Impostor:
    """Listens, shakes hands with whoever believes it, and keeps what it is told."""

    port: int = 0
    tries: int = 0
    believed: int = 0
    heard: bytes = b""
    answer: bytes = b""
    """What it says to whoever asks it over HTTP."""

    def serve(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        """Take one connection after the other, until the listener is closed."""
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            self.tries += 1
            plain.settimeout(1)
            try:
                with context.wrap_socket(plain, server_side=True) as line:
                    self.believed += 1
                    self.heard += line.recv(1 << 16)
                    line.sendall(self.answer)
            except OSError:
                plain.close()


@contextmanager
def posing(folder: Path, issued: Issued) -> Iterator[Impostor]:
    """Be an impostor with this certificate."""
    folder.mkdir(exist_ok=True)
    path = folder / "impostor.pem"
    path.write_bytes(issued.cert + issued.key)
    impostor = Impostor()
    listener = socket.create_server(("127.0.0.1", 0))
    impostor.port = int(listener.getsockname()[1])
    thread = threading.Thread(target=impostor.serve, args=(listener, server_context(path, path)))
    thread.start()
    try:
        yield impostor
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def http(body: str) -> bytes:
    """Return an answer over HTTP."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n"
    return head.encode() + body.encode()
