"""Lets nobody in without a session: the second lock, behind the gateway's own.

Plain ASGI, before Streamlit: pages and the WebSocket alike are refused unless the gateway knows
the cookie. What is known is believed for a few seconds; a page's many requests ask once.
"""

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from muster.contracts.authority import Person
from muster.contracts.errors import Unauthenticated, Unavailable
from muster.dashboard.api import COOKIES, Api, ApiError

_BELIEVED: Final = 5.0
_MOST: Final = 10_000
_OPEN: Final = frozenset({"/healthz"})
_LOG_IN: Final = 4401
"""The WebSocket's close code; before it is accepted the browser sees a refused handshake."""

Ask = Callable[[dict[str, str]], Person]


def ask_gateway(cookies: dict[str, str]) -> Person:
    """Ask the gateway whose session this is."""
    return Api(cookies).get(Person, "me")


class Guard:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp, ask: Ask = ask_gateway) -> None:
        """Stand before *app*; *ask* tells whose cookies these are, or raises `ApiError`."""
        self._app = app
        self._ask = ask
        self._known: dict[str, float] = {}
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what has a session."""
        if scope["type"] not in {"http", "websocket"} or scope["path"] in _OPEN:
            status = 200
        else:
            status = await self._status(_cookies(scope))
        if status == 200:  # noqa: PLR2004
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _LOG_IN, "reason": "log in first"})
        else:
            text = "log in first" if status == Unauthenticated.status else "the gateway is away"
            await PlainTextResponse(text, status)(scope, receive, send)

    async def _status(self, cookies: dict[str, str]) -> int:
        secret = next((cookies[name] for name in COOKIES if name in cookies), "")
        if not secret:
            return Unauthenticated.status
        name = hashlib.sha256(secret.encode()).hexdigest()
        if self._believes(name):
            return 200
        async with self._asking[name]:
            if self._believes(name):
                return 200
            return await self._asked(name, cookies)

    async def _asked(self, name: str, cookies: dict[str, str]) -> int:
        try:
            person = await asyncio.to_thread(self._ask, cookies)
        except ApiError as error:
            self._known.pop(name, None)
            known = error.status == Unauthenticated.status
            return Unauthenticated.status if known else Unavailable.status
        if person.must_change_password:
            return Unauthenticated.status
        self._forget()
        self._known[name] = time.monotonic() + _BELIEVED
        return 200

    def _believes(self, name: str) -> bool:
        return self._known.get(name, 0.0) > time.monotonic()

    def _forget(self) -> None:
        """Drop what is too old, when it has become much."""
        if len(self._known) > _MOST or len(self._asking) > _MOST:
            now = time.monotonic()
            self._known = {key: until for key, until in self._known.items() if until > now}
            for key in [key for key, lock in self._asking.items() if not lock.locked()]:
                del self._asking[key]


def _cookies(scope: Scope) -> dict[str, str]:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    found: SimpleCookie = SimpleCookie()
    for name, value in headers:
        if name == b"cookie":
            try:
                found.load(value.decode("latin-1"))
            except CookieError:
                continue
    return {key: morsel.value for key, morsel in found.items()}
