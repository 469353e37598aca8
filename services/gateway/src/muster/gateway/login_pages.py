"""The pages on which a session begins: name and password, the code, an invitation."""

from collections.abc import Mapping

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from muster.contracts.authority import LOGIN, Login, Session
from muster.contracts.base import NOTHING
from muster.contracts.errors import MusterError, SecondFactor
from muster.contracts.factors import SECOND_STEP, SecondStep
from muster.contracts.oidc import WAYS, Ways
from muster.contracts.people import ACCEPT, Accept
from muster.gateway.gate import Gate, Here
from muster.gateway.origins import address_of, local_path, origin_of
from muster.gateway.pages import (
    LONGEST,
    fault_of,
    form_of,
    rule_broken,
    signed_in,
    text_of,
    with_token,
)

router = APIRouter(include_in_schema=False)


@router.get("/login")
async def login_page(request: Request, gate: Here, next: str = "/") -> Response:  # noqa: A002
    """Ask for name and password."""
    if await signed_in(request, gate) is not None:
        return RedirectResponse(local_path(next), 303)
    return await login_form(request, gate, {"next": next})


@router.post("/login")
async def login(request: Request, gate: Here) -> Response:
    """Begin a session."""
    form = await form_of(request)
    try:
        gate.cookies.check(request, form.get("csrf", ""))
        gate.logins.admit(address_of(request))
        ask = Login(
            name=form.get("name", "")[:200],
            password=form.get("password", "")[:LONGEST] or " ",
            origin=origin_of(request),
        )
        session = await gate.bus.ask(LOGIN, ask, timeout=15)
    except MusterError as error:
        fault = fault_of(request, error, wrong="login.wrong")
        return await login_form(request, gate, form, fault, error.status)
    return enter(request, gate, session, form)


@router.post("/login/code")
async def second_step(request: Request, gate: Here) -> Response:
    """Take the code that a login still lacks."""
    form = await form_of(request)
    try:
        gate.cookies.check(request, form.get("csrf", ""))
        gate.logins.admit(address_of(request))
        ask = SecondStep(
            secret=form.get("half", "")[:200],
            code=form.get("code", "")[:64] or " ",
            origin=origin_of(request),
        )
        session = await gate.bus.ask(SECOND_STEP, ask, timeout=15)
    except SecondFactor as error:
        fault = fault_of(request, error, wrong="code.wrong")
        return code_form(request, gate, form, fault, error.status)
    except MusterError as error:
        fault = fault_of(request, error, wrong="code.late")
        return await login_form(request, gate, form, fault, error.status)
    return enter(request, gate, session, form)


def enter(request: Request, gate: Gate, session: Session, form: Mapping[str, str]) -> Response:
    """Let somebody in who has proven who they are, or ask for the code that is still needed."""
    if session.needs_code:
        passkey = "1" if session.passkey else ""
        return code_form(request, gate, {**form, "half": session.secret, "passkey": passkey})
    target = local_path(form.get("next", "/"))
    response = RedirectResponse("/password" if session.person.must_change_password else target, 303)
    gate.cookies.give(response, session)
    return response


@router.get("/invitation")
async def invitation_page(request: Request, gate: Here, code: str = "") -> Response:
    """Ask the invited person for a password of their own."""
    return _invitation_form(request, gate, code)


@router.post("/invitation")
async def invitation(request: Request, gate: Here) -> Response:
    """Accept an invitation: keep the password, begin a session."""
    form = await form_of(request)
    code = form.get("code", "")
    try:
        gate.cookies.check(request, form.get("csrf", ""))
        gate.logins.admit(address_of(request))
        if (key := rule_broken({**form, "old": "-"})) is not None:
            return _invitation_form(request, gate, code, text_of(request, key), 400)
        ask = Accept(secret=code[:200], password=form["new"], origin=origin_of(request))
        session = await gate.bus.ask(ACCEPT, ask, timeout=15)
    except MusterError as error:
        fault = fault_of(request, error, wrong="invitation.wrong")
        return _invitation_form(request, gate, code, fault, error.status)
    return enter(request, gate, session, {})


async def login_form(
    request: Request, gate: Gate, form: Mapping[str, str], fault: str = "", status: int = 200
) -> Response:
    """Render the page on which a session begins, with all ways that there are."""
    target = local_path(form.get("next", "/"))
    name = form.get("name", "")[:200]
    values = {"fault": fault, "next": target, "name": name, "ways": await _ways(gate)}
    return with_token(request, gate, "login.html", status, **values)


async def _ways(gate: Gate) -> Ways:
    """Return how one may log in besides with a password; who does not answer offers none."""
    try:
        return await gate.bus.ask(WAYS, NOTHING, timeout=2)
    except MusterError:
        return Ways()


def code_form(
    request: Request, gate: Gate, form: Mapping[str, str], fault: str = "", status: int = 200
) -> Response:
    """Render the page that asks for the second factor."""
    values = {"next": local_path(form.get("next", "/")), "half": form.get("half", "")[:200]}
    passkey = bool(form.get("passkey"))
    return with_token(request, gate, "code.html", status, fault=fault, passkey=passkey, **values)


def _invitation_form(
    request: Request, gate: Gate, code: str, fault: str = "", status: int = 200
) -> Response:
    return with_token(request, gate, "invitation.html", status, fault=fault, code=code[:200])
