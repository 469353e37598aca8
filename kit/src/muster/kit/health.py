"""Is it alive, is it ready, what does it count: for people, Kubernetes and Prometheus.

``/healthz``: the event loop turns. ``/readyz``: every check passes, or which does not and why.
``/metrics``: Prometheus. Served from a thread, so that a stuck loop is told, not shared.
"""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Final, NamedTuple, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from muster.kit.text import clean

log = logging.getLogger(__name__)

T = TypeVar("T")
Check = Callable[[], Awaitable[object]]

_PATIENCE: Final = 2.0
_JSON: Final = "application/json"


class Readiness(NamedTuple):
    """Whether every check passed, and what each said: ``ok`` or why not."""

    ready: bool
    checks: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return it as it goes over HTTP."""
        return {"status": "ok" if self.ready else "unavailable", "checks": self.checks}


class Health:
    """The checks of one process."""

    def __init__(
        self, *, registry: CollectorRegistry = REGISTRY, patience: float = _PATIENCE
    ) -> None:
        """Count in *registry*; a check that takes longer than *patience* seconds has failed."""
        self.registry = registry
        self._patience = patience
        self._checks: dict[str, Check] = {}

    def check(self, name: str, ask: Check) -> None:
        """Be ready only while *ask* returns without an exception."""
        self._checks[name] = ask

    async def ready(self) -> Readiness:
        """Ask every check, all at once."""
        said = await asyncio.gather(*(self._ask(ask) for ask in self._checks.values()))
        checks = dict(zip(self._checks, said, strict=True))
        return Readiness(all(one == "ok" for one in said), checks)

    async def _ask(self, ask: Check) -> str:
        try:
            async with asyncio.timeout(self._patience):
                await ask()
        except TimeoutError:
            return f"no answer in {self._patience:g} s"
        except Exception as error:  # noqa: BLE001 (whatever it is, that is the answer)
            return clean(str(error)) or type(error).__name__
        return "ok"

    @asynccontextmanager
    async def serving(self, port: int, host: str = "127.0.0.1") -> AsyncGenerator[int]:
        """Answer over HTTP beside the block; yields the port, which is free if 0 was asked for."""
        loop = asyncio.get_running_loop()
        with _Server((host, port), self, loop, self._patience + 1) as server:
            thread = threading.Thread(
                target=server.serve_forever, args=(0.05,), name="health", daemon=True
            )
            thread.start()
            try:
                yield server.server_port
            finally:
                await asyncio.to_thread(server.shutdown)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        health: Health,
        loop: asyncio.AbstractEventLoop,
        patience: float,
    ) -> None:
        self.health, self._loop, self._patience = health, loop, patience
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # not HTTPServer's, which asks the DNS for our name
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def in_loop(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        future = asyncio.run_coroutine_threadsafe(ask(), self._loop)
        try:
            return future.result(self._patience)
        finally:
            future.cancel()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10
    server_version = "muster"
    sys_version = ""

    def do_GET(self) -> None:
        try:
            self._answer(self.path.partition("?")[0])
        except TimeoutError:
            self._json(503, {"status": "unavailable", "error": "the event loop is stuck"})

    def _answer(self, path: str) -> None:
        if path == "/healthz":
            self.server.in_loop(_turn)
            self._json(200, {"status": "ok"})
        elif path == "/readyz":
            readiness = self.server.in_loop(self.server.health.ready)
            self._json(200 if readiness.ready else 503, readiness.as_dict())
        elif path == "/metrics":
            text = generate_latest(self.server.health.registry)
            self._send(200, CONTENT_TYPE_LATEST, text)
        else:
            self._json(404, {"error": "there are /healthz, /readyz and /metrics"})

    def _json(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, _JSON, json.dumps(body, ensure_ascii=False).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(HTTPStatus(status))
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        log.debug(format, *args)


async def _turn() -> None:
    """Show that the loop turns."""
