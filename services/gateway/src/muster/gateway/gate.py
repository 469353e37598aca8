"""What every handler needs, in one place, and how a handler gets at it."""

from dataclasses import dataclass
from typing import Annotated, Final, cast

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from muster.contracts.errors import Denied
from muster.gateway.cookies import CSRF_HEADER, Cookies
from muster.gateway.limiter import Limiter
from muster.gateway.live import Hub
from muster.gateway.openapi import takes_basic
from muster.gateway.origins import SAFE, refuse_foreign
from muster.gateway.people import People, Visitor
from muster.gateway.settings import Settings
from muster.gateway.upstream import Upstream
from muster.kit.bus import Bus

_WITHOUT_NEW_PASSWORD: Final = ("/api/v1/me", "/api/v1/me/password", "/api/v1/logout")
"""What a person may do in a browser before the first password has been changed."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The parts of the gateway."""

    bus: Bus
    settings: Settings
    people: People
    cookies: Cookies
    hub: Hub
    dashboard: Upstream | None
    joins: Limiter
    challenges: Limiter
    logins: Limiter


def gate_of(conn: HTTPConnection) -> Gate:
    """Return the gate that a request has come in by."""
    return cast("Gate", conn.app.state.gate)


async def _visitor(request: Request) -> Visitor:
    gate = gate_of(request)
    visitor = await gate.people.visitor(request, basic=takes_basic(request.scope.get("route")))
    if visitor.shown.name and request.method not in SAFE:  # browsers send these by themselves
        refuse_foreign(request, gate.settings.public_url)
    if not visitor.cookie:
        return visitor
    if request.method not in SAFE:
        refuse_foreign(request, gate.settings.public_url)
        gate.cookies.check(request, request.headers.get(CSRF_HEADER, ""))
    if visitor.person.must_change_password and request.url.path not in _WITHOUT_NEW_PASSWORD:
        raise Denied("change your password first")
    return visitor


async def _here(request: Request) -> Gate:
    gate = gate_of(request)
    if request.method not in SAFE:
        refuse_foreign(request, gate.settings.public_url)
    return gate


Me = Annotated[Visitor, Depends(_visitor)]
"""The one who asks; a handler with this parameter is for people who have logged in."""

Here = Annotated[Gate, Depends(_here)]
"""The gate, for handlers that need no login; another site's page cannot change anything."""
