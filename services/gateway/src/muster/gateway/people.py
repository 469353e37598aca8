"""Who is asking: a session cookie, a bearer token or an app password becomes a ticket.

The authority exchanges the secret for a short-lived signed ticket. The ticket is kept here, by
the secret's hash, for 30 s at most: that is how long a session that was ended elsewhere may
still read.
"""

import asyncio
import base64
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
from muster.gateway.limiter import Limiter
from muster.gateway.origins import origin_of
from muster.kit import policy
from muster.kit.bus import Bus
from muster.kit.wire import unpack

KEPT: Final = 30.0
"""Seconds for which a ticket is kept."""

_MOST: Final = 10_000
_BEARER: Final = "bearer "
_BASIC: Final = "basic "
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Shown:
    """What came with a request to prove who asks."""

    secret: str = ""
    name: str = ""
    """Who they say they are; with an app password only."""
    cookie: bool = False
    """A browser sends it by itself."""

    @property
    def key(self) -> bytes:
        """What it is remembered by."""
        return key_of(self.secret) + self.name.encode()  # so that no two kinds can meet


@dataclass(slots=True)
class Visitor:
    """A person who asks, with the ticket that proves it."""

    bus: Bus
    people: "People"
    granted: Granted
    shown: Shown
    origin: Origin

    @property
    def person(self) -> Person:
        """Who it is."""
        return self.granted.person

    @property
    def secret(self) -> str:
        """What proves it."""
        return self.shown.secret

    @property
    def cookie(self) -> bool:
        """Whether it came with a cookie, which browsers send by themselves."""
        return self.shown.cookie

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
        self,
        bus: Bus,
        cookies: Cookies,
        tries: Limiter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Exchange over *bus*; *tries* limits who comes with names and passwords."""
        self._bus = bus
        self._tries = tries
        self._cookies = cookies
        self._clock = clock
        self._kept: dict[bytes, dict[Origin, tuple[float, Visitor]]] = {}
        self._doors: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        bus.rights.watch(self._changed)

    def presented(self, conn: HTTPConnection, *, basic: bool = False) -> Shown:
        """Return what came with a request: a token, a cookie, or an app password if *basic*.

        A cookie goes first: a proxy before us may have its own use for the header.
        """
        header = conn.headers.get("authorization", "")
        if header[: len(_BEARER)].lower() == _BEARER:
            return Shown(header[len(_BEARER) :].strip()[:_LONGEST])
        if secret := self._cookies.secret(conn):
            return Shown(secret, cookie=True)
        if basic and header[: len(_BASIC)].lower() == _BASIC:
            return _name_and_password(header[len(_BASIC) :].strip())
        return Shown()

    async def visitor(self, conn: HTTPConnection, *, basic: bool = False) -> Visitor:
        """Return who asks, or raise `Unauthenticated`; *basic*: an app password will do."""
        shown = self.presented(conn, basic=basic)
        if not shown.secret:
            raise Unauthenticated("log in first")
        origin = origin_of(conn)
        if (known := self._known(shown.key, origin)) is not None:
            return known
        async with self._doors.setdefault(shown.key, asyncio.Lock()):
            known = self._known(shown.key, origin)
            if known is None and shown.name:
                self._tries.admit(origin.address)
            return known or await self._exchange(shown, origin)

    async def again(self, visitor: Visitor) -> Visitor:
        """Return *visitor* with a fresh ticket, or raise `Unauthenticated` if the session ended."""
        return await self._exchange(visitor.shown, visitor.origin)

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

    async def _exchange(self, shown: Shown, origin: Origin) -> Visitor:
        ask = Exchange(secret=shown.secret, name=shown.name, origin=origin)
        try:
            granted = await self._bus.ask(EXCHANGE, ask)
        except Unauthenticated:
            self._kept.pop(shown.key, None)
            raise
        visitor = Visitor(self._bus, self, granted, shown, origin)
        if len(self._kept) >= _MOST:
            self._kept.clear()
        mine = self._kept.setdefault(shown.key, {})
        if len(mine) > 16:  # noqa: PLR2004
            mine.clear()
        mine[origin] = (self._clock() + KEPT, visitor)
        return visitor


def _name_and_password(given: str) -> Shown:
    """Return what HTTP Basic holds (RFC 7617); nothing, if it cannot be read."""
    try:
        name, colon, secret = base64.b64decode(given, validate=True).decode().partition(":")
    except ValueError:
        return Shown()
    fits = colon and name and len(name) <= _LONGEST and len(secret) <= _LONGEST
    return Shown(secret, name) if fits else Shown()
