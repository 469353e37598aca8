"""The connection below the bus: credentials, TLS, and a reconnect that never gives up."""

import asyncio
import base64
import logging
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nats.aio.client import DEFAULT_BUFFER_SIZE, Client, Server
from nats.aio.transport import TcpTransport
from nats.errors import Error

from muster.kit.identity.nkeys import Key

log = logging.getLogger(__name__)

SLOWEST: Final = 5.0
"""Seconds between two attempts to reconnect, at most."""


_FAREWELL: Final = 1.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """A NATS user JWT and the key that it speaks of."""

    jwt: str
    key: Key

    @classmethod
    def from_file(cls, path: Path) -> "Credentials":
        """Read a ``.creds`` file."""
        lines = [line for line in path.read_text().splitlines() if line and "-----" not in line]
        return cls(lines[0].strip(), Key.from_seed(lines[-1].strip()))


class AnswerLostError(Error):
    """The connection broke between a request and its answer."""


async def _do_nothing(error: Exception) -> None:
    """Leave it at the log."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom a client takes for its server."""

    context: Callable[[], ssl.SSLContext | None]
    """Asked at each attempt: authorities come and go. None: there is no TLS."""
    failed: Callable[[Exception], Awaitable[None]] = _do_nothing
    """Told of each attempt that has failed, before the next."""


PLAIN: Final = Trust(lambda: None)
"""Without TLS."""


class _Transport(TcpTransport):
    """Waits for the end of a connection, but not for ever.

    After a TLS handshake that has failed the end is never told, and nats-py would not try again.
    """

    async def wait_closed(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await super().wait_closed()  # type: ignore[no-untyped-call]


class EndlessClient(Client):
    """A client that reconnects after every error of the server.

    nats-py closes for good on errors such as "user authentication expired" or "revoked". An
    agent must outlive them: its rights may come back, or a new JWT may lie on its disk.
    """

    trust: Trust | None = None

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Whom to trust at this attempt."""
        return (self.trust and self.trust.context()) or super().ssl_context

    async def _connect_to_server(self, s: Any) -> None:
        s.last_attempt = time.monotonic()
        transport = self._transport or _Transport()  # type: ignore[no-untyped-call]
        await transport.connect(s.uri, DEFAULT_BUFFER_SIZE, self.options["connect_timeout"])
        self._transport = transport

    def abandon(self) -> None:
        """Fail the requests that wait for an answer: it was meant for a connection that is gone."""
        for waiting in self._resp_map.values():
            if not waiting.done():
                waiting.set_exception(AnswerLostError("the connection was lost"))

    async def _process_err(self, err_msg: str) -> None:
        if "permissions violation" in err_msg.lower():
            await super()._process_err(err_msg)
        else:
            await self._process_op_err(Error(f"nats: {err_msg}"))


class Complaints:
    """Logs each kind of trouble once until it changes, not once per attempt."""

    def __init__(self, name: str) -> None:
        """Speak for the connection *name*."""
        self._name = name
        self._last = ""

    async def error(self, error: Exception) -> None:
        """Take an error of the client."""
        text = f"{type(error).__name__}: {error}"
        if text != self._last:
            self._last = text
            log.warning("%s: %s", self._name, text, extra={"action": "bus_error"})

    async def lost(self) -> None:
        """The connection is gone."""
        log.warning("%s: connection lost", self._name, extra={"action": "bus_lost"})

    def forget(self) -> None:
        """The connection is back: the next error is news."""
        self._last = ""


def backing_off(slowest: float) -> Callable[[list[Server], dict[str, Any]], tuple[Server, float]]:
    """Return a choice of the next server: the least tried, after a jittered, growing delay."""

    def choose(servers: list[Server], _info: dict[str, Any]) -> tuple[Server, float]:
        server = min(servers, key=lambda one: one.reconnects)
        longest = min(slowest, 0.1 * 2 ** min(server.reconnects, 10))
        return server, random.uniform(0.2, 1.0) * longest  # noqa: S311

    return choose


async def open_client(
    urls: Sequence[str],
    *,
    name: str,
    credentials: Callable[[], Credentials] | None,
    trust: Trust,
    slowest: float,
    reconnected: Callable[[], Awaitable[None]],
) -> Client:
    """Connect, trying without end; *credentials* and *trust* are asked at each attempt."""
    client = EndlessClient()
    complaints = Complaints(name)

    async def error(error: Exception) -> None:
        await complaints.error(error)
        try:
            await trust.failed(error)
        except Exception:  # nats-py would never try again
            log.exception("%s: what is done about it failed", name)

    async def lost() -> None:
        client.abandon()
        await complaints.lost()

    async def again() -> None:
        complaints.forget()
        log.info("%s: connected again", name, extra={"action": "bus_back"})
        await reconnected()

    options: dict[str, Any] = {}
    if credentials is not None:
        options["user_jwt_cb"] = lambda: bytearray(credentials().jwt.encode())
        options["signature_cb"] = lambda nonce: base64.b64encode(
            credentials().key.sign(nonce.encode())
        )
    if (tls := trust.context()) is not None:
        client.trust = trust
        options |= {"tls": tls, "tls_handshake_first": True}
    await client.connect(
        list(urls),
        name=name,
        inbox_prefix=f"_INBOX_{name}",
        error_cb=error,
        disconnected_cb=lost,
        reconnected_cb=again,
        reconnect_to_server_handler=backing_off(slowest),
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,  # type: ignore[arg-type]  # only ever slept
        connect_timeout=5,
        ping_interval=10,
        max_outstanding_pings=2,
        pending_size=16 * 1024 * 1024,
        **options,
    )
    complaints.forget()
    return client
