"""uvicorn, started and stopped by us: it takes no signals and writes no access log.

Its certificate is looked at every few seconds: another one is used from the next connection on.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from muster.gateway.edge import HEAD_LIMIT
from muster.gateway.settings import Settings
from muster.kit.identity.certificates import server_context
from muster.kit.tasks import running

log = logging.getLogger(__name__)

_GRACE: Final = 4
"""Seconds for which answers that have begun may go on when the gateway stops."""

_HEAD_TIME: Final = 15.0
"""Seconds for which a request's head may take, from the connection on or from its first byte."""

_SOCKET_MESSAGE: Final = 1 << 20

_LOOK: Final = 2.0
"""Seconds between two looks at the certificate."""


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


class _Certificate:
    """The certificate that is shown, as it is in its files."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Read it; what is wrong with it is an error at once."""
        self._cert, self._key = cert, key
        self._seen = self._stamp()
        self.context = server_context(cert, key)

    async def forever(self) -> None:
        """Show another one as soon as there is one; one that does not fit is told and not used."""
        while True:
            await asyncio.sleep(_LOOK)
            try:
                self._look()
            except (OSError, ValueError) as error:
                log.warning("the certificate in %s cannot be used: %s", self._cert, error)

    def _look(self) -> None:
        if (stamp := self._stamp()) == self._seen:
            return
        server_context(self._cert, self._key)  # the live one must not end up with half of a pair
        self.context.load_cert_chain(self._cert, self._key)
        self._seen = stamp
        log.info("another certificate is shown", extra={"action": "certificate"})

    def _stamp(self) -> list[tuple[int, int]]:
        found = [path.stat() for path in (self._cert, self._key)]
        return [(one.st_mtime_ns, one.st_ino) for one in found]


@asynccontextmanager
async def listening(app: ASGIApp, settings: Settings) -> AsyncGenerator[str]:
    """Serve *app* for as long as the block lasts; yield the URL."""
    cert = settings.tls_cert
    if cert is None:
        async with _listening(app, settings, None) as url:
            yield url
        return
    shown = _Certificate(cert, settings.tls_key or cert)
    async with (
        _listening(app, settings, shown.context) as url,
        running(shown.forever(), "certificate"),
    ):
        yield url


@asynccontextmanager
async def _listening(
    app: ASGIApp, settings: Settings, tls: ssl.SSLContext | None
) -> AsyncGenerator[str]:
    scheme = "https" if tls else "http"
    with _bound(settings) as sock:
        host, port = sock.getsockname()[:2]
        server = _Server(_config(app, settings, tls))
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


def _config(app: ASGIApp, settings: Settings, tls: ssl.SSLContext | None) -> uvicorn.Config:
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
        ssl_context_factory=(lambda _config, _default: tls) if tls else None,
        limit_concurrency=settings.max_connections,
        timeout_graceful_shutdown=_GRACE,
        ws_max_size=_SOCKET_MESSAGE,
        ws_per_message_deflate=False,
    )
