"""The page on which one sets up a second factor, without scripts."""

import io
from typing import Any

import segno
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from muster.contracts.errors import MusterError
from muster.contracts.factors import CONFIRM_FACTOR, START_FACTOR, ConfirmFactor, StartFactor
from muster.gateway.gate import Gate, Here
from muster.gateway.pages import fault_of, form_of, signed_in, with_token
from muster.gateway.people import Visitor

router = APIRouter(include_in_schema=False)

_LOGIN = "/login?next=/factor"


@router.get("/factor")
async def factor_page(request: Request, gate: Here) -> Response:
    """Say whether one has a second factor, and ask for the password to set one up."""
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse(_LOGIN, 303)
    return _page(request, gate, 200, **_about(visitor))


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
        return _page(request, gate, error.status, fault=fault, **_about(visitor))
    picture = _picture(started.uri)
    return _page(request, gate, 200, secret=started.secret, picture=picture)


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
        return _page(request, gate, error.status, fault=fault, secret=secret)
    return _page(request, gate, 200, codes=done.codes)


def _about(visitor: Visitor) -> dict[str, Any]:
    return {"has": visitor.person.second_factor, "name": visitor.person.name}


def _page(request: Request, gate: Gate, status: int, **values: Any) -> Response:
    empty = {"fault": "", "codes": [], "secret": "", "picture": "", "has": False, "name": ""}
    return with_token(request, gate, "factor.html", status, **{**empty, **values})


def _picture(uri: str) -> Markup:
    """Return the QR code as SVG, in black on white whatever the page looks like."""
    out = io.BytesIO()
    code = segno.make(uri, error="m")
    code.save(out, kind="svg", scale=5, border=3, light="white", xmldecl=False, svgns=True)
    return Markup(out.getvalue().decode())  # noqa: S704  # it is ours: squares and numbers
