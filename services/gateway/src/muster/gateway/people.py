"""Who is asking: a session cookie or a bearer token becomes a ticket, and asks with it.

The authority exchanges the secret for a short-lived signed ticket. The ticket is kept here, by
the secret's hash, for 30 s at most: that is how long a session that was ended elsewhere may
still read.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from weakref import WeakValueDictionary

from starlette.requests import HTTPConnection
from starlette.responses import Response

from muster.contracts.authority import EXCHANGE, Exchange, Granted, Origin, Person
from muster.contracts.base import Answer, Ask, Call
from muster.contracts.errors import Superseded, Unauthenticated
from muster.contracts.people import RightsChanged
from muster.gateway.cookies import Cookies
from muster.gateway.origins import origin_of
from muster.kit import policy
from muster.kit.bus import Bus
from muster.kit.wire import unpack

KEPT: Final = 30.0
"""Seconds for which a ticket is kept."""

_MOST: Final = 10_000
_BEARER: Final = "bearer "


@dataclass(slots=True)
class Visitor:
    """A person who asks, with the ticket that proves it."""

    bus: Bus
    people: "People"
    granted: Granted
    secret: str
    origin: Origin
    cookie: bool
    """Came with a cookie, not with a bearer token."""

    @property
    def person(self) -> Person:
        """Who it is."""
        return self.granted.person

    @property
    def expired(self) -> bool:
        """Whether the ticket is too old to be used."""
        return self.granted.expires <= datetime.now(UTC)

    def may(self, permission: str) -> bool:
        """Whether the ticket carries *permission*."""
        return policy.allows(self.person.permissions, permission)

    async def ask(
        self,
        call: Call[Ask, Answer],
        ask: Ask,
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> Answer:
        """Ask the bus as this person."""
        return unpack(call.answer, await self._ask(call, ask, timeout))

    async def relay(
        self,
        call: Call[Ask, Answer],
        ask: Ask,
        timeout: float = 10.0,  # noqa: ASYNC109
        status: int = 200,
    ) -> Response:
        """Ask the bus as this person, and return the answer as the service has written it."""
        body = await self._ask(call, ask, timeout)
        return Response(body, status, media_type="application/json")

    async def _ask(self, call: Call[Ask, Answer], ask: Ask, seconds: float) -> bytes:
        """Ask with the ticket; with a new one, once, if the person's rights have changed."""
        try:
            return await self.bus.ask_raw(call, ask, ticket=self.granted.ticket, timeout=seconds)
        except Superseded:  # nothing was done
            self.granted = (await self.people.again(self)).granted
            return await self.bus.ask_raw(call, ask, ticket=self.granted.ticket, timeout=seconds)

    def unlimited(self, action: str) -> bool:
        """Whether the person may do *action* on all nodes, so that nothing has to be left out."""
        request = policy.Request(action, datetime.now(UTC))
        return policy.reach(self.person.grants, request).everywhere


def key_of(secret: str) -> bytes:
    """Return what a secret is remembered by."""
    return hashlib.sha256(secret.encode()).digest()


class People:
    """Exchanges secrets for tickets, and keeps those for a moment."""

    def __init__(
        self, bus: Bus, cookies: Cookies, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Exchange over *bus*."""
        self._bus = bus
        self._cookies = cookies
        self._clock = clock
        self._kept: dict[bytes, dict[Origin, tuple[float, Visitor]]] = {}
        self._doors: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        bus.rights.watch(self._changed)

    def presented(self, conn: HTTPConnection) -> tuple[str, bool]:
        """Return the secret that came with a request, and whether it was a cookie."""
        header = conn.headers.get("authorization", "")
        if header[: len(_BEARER)].lower() == _BEARER:
            return header[len(_BEARER) :].strip()[:200], False
        return self._cookies.secret(conn), True

    async def visitor(self, conn: HTTPConnection) -> Visitor:
        """Return who asks, or raise `Unauthenticated`."""
        secret, cookie = self.presented(conn)
        if not secret:
            raise Unauthenticated("log in first")
        origin = origin_of(conn)
        key = key_of(secret)
        if (known := self._known(key, origin)) is not None:
            return known
        async with self._doors.setdefault(key, asyncio.Lock()):
            return self._known(key, origin) or await self._exchange(secret, origin, cookie=cookie)

    async def again(self, visitor: Visitor) -> Visitor:
        """Return *visitor* with a fresh ticket, or raise `Unauthenticated` if the session ended."""
        return await self._exchange(visitor.secret, visitor.origin, cookie=visitor.cookie)

    def forget(self, secret: str) -> None:
        """Forget the tickets of one session."""
        self._kept.pop(key_of(secret), None)

    def _changed(self, change: RightsChanged) -> None:
        if change.everyone:
            self._kept.clear()
        for name in change.names:
            self.forget_person(name)

    def forget_person(self, name: str) -> None:
        """Forget the tickets of all sessions of a person."""
        self._kept = {
            key: mine
            for key, mine in self._kept.items()
            if all(visitor.person.name != name for _, visitor in mine.values())
        }

    def _known(self, key: bytes, origin: Origin) -> Visitor | None:
        until, visitor = self._kept.get(key, {}).get(origin, (0.0, None))
        if visitor is None or self._clock() >= until or visitor.expired:
            return None
        return visitor

    async def _exchange(self, secret: str, origin: Origin, *, cookie: bool) -> Visitor:
        try:
            granted = await self._bus.ask(EXCHANGE, Exchange(secret=secret, origin=origin))
        except Unauthenticated:
            self.forget(secret)
            raise
        visitor = Visitor(self._bus, self, granted, secret, origin, cookie)
        if len(self._kept) >= _MOST:
            self._kept.clear()
        mine = self._kept.setdefault(key_of(secret), {})
        if len(mine) > 16:  # noqa: PLR2004
            mine.clear()
        mine[origin] = (self._clock() + KEPT, visitor)
        return visitor
