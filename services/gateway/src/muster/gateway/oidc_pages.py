"""The way through an identity provider: there, back, and linking oneself with it.

The authority decides all of it; here the browser is led, and keeps a cookie meanwhile, so that
nobody can be logged in by a link that somebody else has made.
"""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from muster.contracts.base import NOTHING
from muster.contracts.errors import MusterError, Unavailable
from muster.contracts.oidc import (
    FINISH_OIDC,
    LINK_OIDC,
    MY_IDENTITY,
    START_OIDC,
    FinishOidc,
    LinkOidc,
    StartOidc,
)
from muster.gateway.gate import Gate, Here
from muster.gateway.login_pages import enter, login_form
from muster.gateway.origins import address_of, local_path, origin_of
from muster.gateway.pages import LONGEST, fault_of, form_of, signed_in, text_of, with_token

router = APIRouter(include_in_schema=False)

_HERE = "/identity"


@router.get("/login/oidc")
async def away(request: Request, gate: Here, next: str = "/") -> Response:  # noqa: A002
    """Lead the browser to the provider.

    A link, not a form: our own policy for pages lets no form end at another site.
    """
    try:
        gate.logins.admit(address_of(request))
        ask = StartOidc(next=local_path(next), origin=origin_of(request))
        started = await gate.bus.ask(START_OIDC, ask, timeout=15)
    except MusterError as error:
        return await login_form(request, gate, {"next": next}, _fault(request, error), error.status)
    response = RedirectResponse(started.url, 303)
    gate.cookies.send_away(response, started.browser, started.expires)
    return response


@router.get("/login/oidc/callback")
async def back(
    request: Request, gate: Here, state: str = "", code: str = "", error: str = ""
) -> Response:
    """Take what the provider has given to the browser, once."""
    try:
        gate.logins.admit(address_of(request))
        ask = FinishOidc(
            state=state[:200],
            code=code[:4000],
            error=error[:200],
            browser=gate.cookies.away(request),
            origin=origin_of(request),
        )
        done = await gate.bus.ask(FINISH_OIDC, ask, timeout=40)
    except MusterError as refusal:
        fault = _fault(request, refusal, wrong="oidc.late")
        if await signed_in(request, gate):  # it was to be linked
            return await _identity(request, gate, fault, refusal.status)
        return await login_form(request, gate, {}, fault, refusal.status)
    response: Response = RedirectResponse(local_path(done.next), 303)
    if done.session is not None:
        response = enter(request, gate, done.session, {"next": done.next})
    gate.cookies.come_back(response)
    return response


@router.get("/identity")
async def identity_page(request: Request, gate: Here) -> Response:
    """Say whether one is linked with the provider, and offer it."""
    return await _identity(request, gate)


@router.post("/identity")
async def link(request: Request, gate: Here) -> Response:
    """Begin to link oneself: the next page leads to the provider."""
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse(f"/login?next={_HERE}", 303)
    form = await form_of(request)
    try:
        gate.cookies.check(request, form.get("csrf", ""))
        ask = LinkOidc(password=form.get("password", "")[:LONGEST] or " ", next=_HERE)
        started = await visitor.ask(LINK_OIDC, ask, timeout=15)
    except MusterError as error:
        return await _identity(request, gate, _fault(request, error), error.status)
    response = await _identity(request, gate, url=started.url)
    gate.cookies.send_away(response, started.browser, started.expires)
    return response


def _fault(request: Request, error: MusterError, *, wrong: str = "oidc.none") -> str:
    """Say in the person's language why it was refused; the provider may be what is away."""
    if isinstance(error, Unavailable):
        return text_of(request, "oidc.away")
    return fault_of(request, error, wrong=wrong)


async def _identity(
    request: Request, gate: Gate, fault: str = "", status: int = 200, **more: Any
) -> Response:
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse(f"/login?next={_HERE}", 303)
    mine = await visitor.ask(MY_IDENTITY, NOTHING)
    values = {"name": visitor.person.name, "mine": mine, "fault": fault, "url": "", **more}
    return with_token(request, gate, "identity.html", status, **values)
