"""The page on which one sets up a second factor, without scripts."""

import io

import segno
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from muster.contracts.errors import MusterError
from muster.contracts.factors import CONFIRM_FACTOR, START_FACTOR, ConfirmFactor, StartFactor
from muster.gateway.gate import Here
from muster.gateway.pages import fault_of, form_of, signed_in, with_token

router = APIRouter(include_in_schema=False)

_LOGIN = "/login?next=/factor"


@router.get("/factor")
async def factor_page(request: Request, gate: Here) -> Response:
    """Say whether one has a second factor, and ask for the password to set one up."""
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse(_LOGIN, 303)
    values = {"has": visitor.person.second_factor, "name": visitor.person.name}
    return with_token(request, gate, "factor.html", 200, **{**_EMPTY, **values})


@router.post("/factor")
async def start(request: Request, gate: Here) -> Response:
    """Show the QR code."""
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse(_LOGIN, 303)
    form = await form_of(request)
    try:
        gate.cookies.check(request, form.get("csrf", ""))
        ask = StartFactor(password=form.get("password", "")[:1000] or " ")
        started = await visitor.ask(START_FACTOR, ask, timeout=15)
    except MusterError as error:
        fault = fault_of(request, error, wrong="password.wrong")
        values = {"has": visitor.person.second_factor, "name": visitor.person.name}
        page = {**_EMPTY, **values, "fault": fault}
        return with_token(request, gate, "factor.html", error.status, **page)
    page = {**_EMPTY, "secret": started.secret, "picture": _picture(started.uri)}
    return with_token(request, gate, "factor.html", 200, **page)


@router.post("/factor/confirm")
async def confirm(request: Request, gate: Here) -> Response:
    """Take the first code, and show the recovery codes."""
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse(_LOGIN, 303)
    form = await form_of(request)
    try:
        gate.cookies.check(request, form.get("csrf", ""))
        ask = ConfirmFactor(code=form.get("code", "")[:64] or " ")
        done = await visitor.ask(CONFIRM_FACTOR, ask, timeout=15)
    except MusterError as error:
        secret = form.get("secret", "")[:64]
        fault = fault_of(request, error, wrong="code.wrong")
        page = {**_EMPTY, "secret": secret, "fault": fault}
        return with_token(request, gate, "factor.html", error.status, **page)
    return with_token(request, gate, "factor.html", 200, **{**_EMPTY, "codes": done.codes})


_EMPTY = {"fault": "", "codes": [], "secret": "", "picture": "", "has": False, "name": ""}


def _picture(uri: str) -> Markup:
    """Return the QR code as SVG, in black on white whatever the page looks like."""
    out = io.BytesIO()
    code = segno.make(uri, error="m")
    code.save(out, kind="svg", scale=5, border=3, light="white", xmldecl=False, svgns=True)
    return Markup(out.getvalue().decode())  # noqa: S704  # it is ours: squares and numbers
