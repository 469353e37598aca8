"""The outermost layer: security headers, access log, figures, limits on what comes in."""

import asyncio
import logging
import time
from typing import Any, Final

from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from muster.contracts.errors import TooLarge
from muster.gateway.problems import problem
from muster.kit.text import clean

log = logging.getLogger(__name__)

REQUESTS: Final = Counter(
    "muster_gateway_requests", "Requests answered", ["method", "route", "status"]
)
SECONDS: Final = Histogram(
    "muster_gateway_request_seconds",
    "Seconds until a request was answered",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
HEAD_LIMIT: Final = 32 * 1024
"""Bytes of all of a request's headers together."""

_SLOWEST: Final = 30.0
"""Seconds that a client may take between two pieces of a request's body."""

_TOO_LARGE: Final = "the request's body is too large"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "WEBSOCKET"})

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # not no-referrer: that would make browsers send `Origin: null` with our own forms
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Sent with every answer that does not bring its own."""

_RAW: Final = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Edge:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, *, max_body: int, access_log: bool = True) -> None:
        """Wrap *app*; a request's body may have *max_body* bytes."""
        self.app = app
        self._max_body = max_body
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hold one WebSocket."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        passage = _Passage(scope, receive, send, self._max_body)
        refusal = self._refusal(scope)
        try:
            await (refusal or self.app)(scope, passage.receive, passage.send)
        except Exception:
            # already logged; what is left is to cut the connection if an answer has begun
            if not passage.status:
                raise
            log.debug("an answer was cut off", exc_info=True)
        finally:
            self._account(scope, passage)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is too large by its own account."""
        size = length = 0
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            if name == b"content-length" and value.isdigit():
                length = int(value[:20])
        if size > HEAD_LIMIT:
            return problem(TooLarge, "the headers are too large", status=431)
        return problem(TooLarge, _TOO_LARGE) if length > self._max_body else None

    def _account(self, scope: Scope, passage: "_Passage") -> None:
        took = time.perf_counter() - passage.began
        route = getattr(scope.get("route"), "path", "") or "none"
        method = scope.get("method", "WEBSOCKET")
        if method not in _METHODS:
            method = "OTHER"  # a stranger must not make up label values
        REQUESTS.labels(method, route, passage.status).inc()
        if method != "WEBSOCKET":
            SECONDS.labels(route).observe(took)
        if self._access_log and log.isEnabledFor(logging.INFO):
            seen = _seen(scope, passage, took)
            log.info("%(method)s %(path)s %(status)s", seen, extra={"action": "access", **seen})


class _Passage:
    """One request on its way through."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body: int) -> None:
        self.began = time.perf_counter()
        self.status = 0
        self.sent = 0
        self._receive = receive
        self._send = send
        self._left = max_body
        self._body_ended = scope["type"] == "websocket"

    async def receive(self) -> Message:
        if self._body_ended:
            return await self._receive()
        async with asyncio.timeout(_SLOWEST):
            message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(TooLarge.status, _TOO_LARGE)
        self._body_ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in {"http.response.start", "websocket.http.response.start"}:
            self.status = message["status"]
            there = {name.lower() for name, _ in message.get("headers", [])}
            own = [pair for pair in _RAW if pair[0] not in there]
            message["headers"] = [*message.get("headers", []), *own]
        elif kind == "http.response.body":
            self.sent += len(message.get("body", b""))
        elif kind == "websocket.accept":
            self.status = 101
        await self._send(message)


def _seen(scope: Scope, passage: _Passage, took: float) -> dict[str, Any]:
    """Return what the access log tells: never the query, it may hold secrets."""
    return {
        "method": scope.get("method", "WEBSOCKET"),
        "path": clean(scope["path"])[:500],
        "status": passage.status,
        "sent": passage.sent,
        "ms": round(took * 1000, 2),
        "address": scope["client"][0] if scope.get("client") else "",
    }
