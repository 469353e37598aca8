"""uvicorn, started and stopped by us: it takes no signals and writes no access log."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from muster.gateway.edge import HEAD_LIMIT
from muster.gateway.settings import Settings
from muster.kit.identity.certificates import server_context

log = logging.getLogger(__name__)

_GRACE: Final = 4
"""Seconds for which answers that have begun may go on when the gateway stops."""

_HEAD_TIME: Final = 15.0
"""Seconds for which a request's head may take, from the connection on or from its first byte."""

_SOCKET_MESSAGE: Final = 1 << 20


class _Protocol(HttpToolsProtocol):
    """Cuts whoever does not come to the end of a request's head: in time, and in size."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._in_head = True
        self._head_size = 0
        self._patience: asyncio.TimerHandle | None = None
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_size += len(data)
            self._wait()
            if self._head_size > 2 * HEAD_LIMIT:
                self.transport.abort()
            return
        self._head_size = 0
        self._relax()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._relax()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(_HEAD_TIME, self.transport.abort)

    def _relax(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class _Server(uvicorn.Server):
    """Signals belong to the process, which may run other services."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def listening(app: ASGIApp, settings: Settings) -> AsyncGenerator[str]:
    """Serve *app* for as long as the block lasts; yield the URL."""
    scheme = "https" if settings.tls_cert else "http"
    with _bound(settings) as sock:
        host, port = sock.getsockname()[:2]
        server = _Server(_config(app, settings))
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve([sock]), name="uvicorn")
            try:
                while not server.started and not serving.done():
                    await asyncio.sleep(0.01)
                shown = f"[{host}]" if ":" in host else host
                log.info("listening on %s://%s:%d", scheme, shown, port)
                yield f"{scheme}://{shown}:{port}"
            finally:
                server.should_exit = True


def _bound(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    # asyncio sets it only where it knows the protocol; without it a short answer waits 40 ms
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        lifespan="off",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        ssl_context_factory=_tls(settings),
        limit_concurrency=settings.max_connections,
        timeout_graceful_shutdown=_GRACE,
        ws_max_size=_SOCKET_MESSAGE,
        ws_per_message_deflate=False,
    )


def _tls(settings: Settings) -> Callable[[uvicorn.Config, object], ssl.SSLContext] | None:
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None:
        return None
    return lambda _config, _default: server_context(cert, key or cert)
