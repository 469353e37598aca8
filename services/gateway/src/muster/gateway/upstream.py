"""The way to the dashboard: a Unix socket, or an address on this machine."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.typing import Subprotocol

_UNIX: Final = "unix:"
_TIMEOUT: Final = httpx.Timeout(60.0, connect=5.0, pool=5.0)
_LIMITS: Final = httpx.Limits(max_connections=200, max_keepalive_connections=20)
_MESSAGE: Final = 64 * 1024 * 1024
"""The largest message of the dashboard to the browser, in bytes."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An HTTP and WebSocket server that only we reach."""

    target: str
    http: httpx.AsyncClient

    def socket(
        self, path: str, host: str, headers: Mapping[str, str], protocols: Sequence[str]
    ) -> AbstractAsyncContextManager[ClientConnection]:
        """Open a WebSocket; *host* is the one that the browser asked for."""
        uri = f"ws://{host}{path}"
        subprotocols = [Subprotocol(name) for name in protocols] or None
        if self.target.startswith(_UNIX):
            return unix_connect(
                self.target.removeprefix(_UNIX),
                uri,
                additional_headers=headers,
                subprotocols=subprotocols,
                compression=None,
                max_size=_MESSAGE,
                open_timeout=10,
            )
        parts = urlsplit(self.target)
        return connect(
            uri,
            additional_headers=headers,
            subprotocols=subprotocols,
            compression=None,
            max_size=_MESSAGE,
            open_timeout=10,
            proxy=None,
            host=parts.hostname,
            port=parts.port or 80,
        )


@asynccontextmanager
async def upstream_at(target: str) -> AsyncGenerator[Upstream | None]:
    """Keep connections to *target* for as long as the block lasts; nothing if it is empty."""
    if not target:
        yield None
        return
    uds = target.removeprefix(_UNIX) if target.startswith(_UNIX) else None
    transport = httpx.AsyncHTTPTransport(uds=uds, limits=_LIMITS)
    base = "http://dashboard" if uds else target
    async with httpx.AsyncClient(
        transport=transport, base_url=base, timeout=_TIMEOUT, trust_env=False
    ) as client:
        yield Upstream(target, client)
