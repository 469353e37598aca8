"""Lets nobody in without a session: the second lock, behind the gateway's own.

Plain ASGI, before Streamlit: pages and the WebSocket alike are refused unless the gateway knows
the cookie. What is known is believed for a few seconds.
"""

import asyncio
import hashlib
import time
from http.cookies import SimpleCookie
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from muster.dashboard.api import COOKIES, Api, ApiError

_BELIEVED: Final = 5.0
_MOST: Final = 10_000
_OPEN: Final = frozenset({"/healthz"})


class Guard:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before *app*."""
        self._app = app
        self._known: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what has a session."""
        if (
            scope["type"] not in {"http", "websocket"}
            or scope["path"] in _OPEN
            or await self._session(_cookies(scope))
        ):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4401, "reason": "log in first"})
        else:
            await PlainTextResponse("log in first", 401)(scope, receive, send)

    async def _session(self, cookies: dict[str, str]) -> bool:
        secret = next((cookies[name] for name in COOKIES if name in cookies), "")
        if not secret:
            return False
        name = hashlib.sha256(secret.encode()).hexdigest()
        if self._known.get(name, 0.0) > time.monotonic():
            return True
        try:
            person = await asyncio.to_thread(Api(cookies).get, "/me")
        except ApiError:
            self._known.pop(name, None)
            return False
        if person.get("must_change_password"):
            return False
        if len(self._known) > _MOST:
            self._known.clear()
        self._known[name] = time.monotonic() + _BELIEVED
        return True


def _cookies(scope: Scope) -> dict[str, str]:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    found = SimpleCookie()
    for name, value in headers:
        if name == b"cookie":
            found.load(value.decode("latin-1"))
    return {key: morsel.value for key, morsel in found.items()}
