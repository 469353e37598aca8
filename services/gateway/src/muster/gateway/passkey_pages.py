"""The pages for passkeys: to log in with one, to add, show, rename and remove them.

A browser gives passkeys to scripts alone. Ours is one small file, which puts what the browser says
into a form; everything else works as on all other pages.
"""

from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from muster.contracts.base import NOTHING, Answer, Ask, Call
from muster.contracts.errors import MusterError
from muster.contracts.passkeys import (
    ADD_PASSKEY,
    ASK_FOR_MY_PASSKEY,
    ASK_FOR_PASSKEY,
    DROP_PASSKEY,
    LIST_PASSKEYS,
    LOGIN_BY_PASSKEY,
    RENAME_PASSKEY,
    SHOW_PASSKEY,
    START_PASSKEY,
    AddPasskey,
    AskForPasskey,
    DropPasskey,
    LoginByPasskey,
    Passkey,
    PasskeyAsked,
    RenamePasskey,
    ShowPasskey,
    StartPasskey,
)
from muster.gateway.gate import Gate, Here
from muster.gateway.login_pages import code_form, enter, login_form
from muster.gateway.origins import address_of, base_url, local_path, origin_of
from muster.gateway.pages import LONGEST, fault_of, form_of, signed_in, with_token
from muster.gateway.people import Visitor

router = APIRouter(include_in_schema=False)

_HERE = "/passkeys"
_LOGIN = f"/login?next={_HERE}"
_SAID = 32_768


@router.post("/login/passkey")
async def ask_at_login(request: Request, gate: Here) -> Response:
    """Let the browser ask for a passkey: at a login, or for its second step."""
    form = await form_of(request)
    half = form.get("half", "")[:200]
    try:
        gate.cookies.check(request, form.get("csrf", ""))
        gate.logins.admit(address_of(request))
        ask = AskForPasskey(half=half, origin=origin_of(request))
        asked = await gate.bus.ask(ASK_FOR_PASSKEY, ask, timeout=15)
    except MusterError as error:
        fault = fault_of(request, error, wrong="code.late")
        return await login_form(request, gate, form, fault, error.status)
    target = local_path(form.get("next", "/"))
    hidden = {"next": target, "half": half}
    return _script(request, gate, asked, "get", "/login/passkey/answer", "/login", hidden)


@router.post("/login/passkey/answer")
async def login(request: Request, gate: Here) -> Response:
    """Begin a session by what the browser says."""
    form = await form_of(request)
    half = form.get("half", "")[:200]
    try:
        gate.cookies.check(request, form.get("csrf", ""))
        gate.logins.admit(address_of(request))
        ask = LoginByPasskey(
            response=form.get("response", "")[:_SAID] or "{}", half=half, origin=origin_of(request)
        )
        session = await gate.bus.ask(LOGIN_BY_PASSKEY, ask, timeout=15)
    except MusterError as error:
        fault = fault_of(request, error, wrong="passkey.wrong")
        if half:
            return code_form(request, gate, {**form, "passkey": "1"}, fault, error.status)
        return await login_form(request, gate, form, fault, error.status)
    return enter(request, gate, session, form)


@router.get("/passkeys")
async def passkeys(request: Request, gate: Here, fresh: str = "") -> Response:
    """List one's passkeys, with what can be done to them."""
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse(_LOGIN, 303)
    return await _listed(request, gate, visitor, fresh=bool(fresh))


@router.post("/passkeys")
async def start(request: Request, gate: Here) -> Response:
    """Let the browser make a passkey."""
    form = await form_of(request)
    password = form.get("password", "")[:LONGEST] or " "
    hidden = {"name": form.get("name", "")[:100]}
    done = await _done(request, gate, form, START_PASSKEY, StartPasskey(password=password))
    if isinstance(done, Response):
        return done
    return _script(request, gate, done, "create", "/passkeys/add", _HERE, hidden)


@router.post("/passkeys/add")
async def add(request: Request, gate: Here) -> Response:
    """Keep what the browser has made, and show the recovery codes that come with the first."""
    form = await form_of(request)
    name, response = form.get("name", "")[:100].strip(), form.get("response", "")[:_SAID]
    ask = AddPasskey(name=name or "passkey", response=response or "{}")
    done = await _done(request, gate, form, ADD_PASSKEY, ask)
    if isinstance(done, Response):
        return done
    if not done.codes:
        return RedirectResponse(_HERE, 303)
    return _page(request, gate, 200, codes=done.codes)


@router.post("/passkeys/show")
async def ask_to_show(request: Request, gate: Here) -> Response:
    """Let the browser ask for one of one's own passkeys."""
    form = await form_of(request)
    done = await _done(request, gate, form, ASK_FOR_MY_PASSKEY, NOTHING)
    if isinstance(done, Response):
        return done
    return _script(request, gate, done, "get", "/passkeys/shown", _HERE, {})


@router.post("/passkeys/shown")
async def show(request: Request, gate: Here) -> Response:
    """Let the session count as fresh."""
    form = await form_of(request)
    ask = ShowPasskey(response=form.get("response", "")[:_SAID] or "{}")
    done = await _done(request, gate, form, SHOW_PASSKEY, ask)
    return done if isinstance(done, Response) else RedirectResponse(f"{_HERE}?fresh=1", 303)


@router.post("/passkeys/rename")
async def rename(request: Request, gate: Here) -> Response:
    """Call a passkey something else."""
    form = await form_of(request)
    name = form.get("name", "")[:100].strip() or "passkey"
    ask = RenamePasskey(id=form.get("id", ""), name=name)
    done = await _done(request, gate, form, RENAME_PASSKEY, ask)
    return done if isinstance(done, Response) else RedirectResponse(_HERE, 303)


@router.post("/passkeys/remove")
async def remove(request: Request, gate: Here) -> Response:
    """Forget a passkey."""
    form = await form_of(request)
    password = form.get("password", "")[:LONGEST] or " "
    ask = DropPasskey(id=form.get("id", ""), password=password)
    done = await _done(request, gate, form, DROP_PASSKEY, ask)
    return done if isinstance(done, Response) else RedirectResponse(_HERE, 303)


async def _done(
    request: Request, gate: Gate, form: dict[str, str], call: Call[Ask, Answer], ask: Ask
) -> Answer | Response:
    """Ask as the one who has logged in; returns the answer, or the page that says why not."""
    visitor = await signed_in(request, gate)
    if visitor is None:
        return RedirectResponse(_LOGIN, 303)
    try:
        gate.cookies.check(request, form.get("csrf", ""))
        return await visitor.ask(call, ask, timeout=15)
    except MusterError as error:
        fault = fault_of(request, error, wrong="code.late")
        return await _listed(request, gate, visitor, fault, error.status)


async def _listed(
    request: Request,
    gate: Gate,
    visitor: Visitor,
    fault: str = "",
    status: int = 200,
    *,
    fresh: bool = False,
) -> Response:
    found = await visitor.ask(LIST_PASSKEYS, NOTHING)
    mine = [_shown(one) for one in found.items]
    about = {"mine": mine, "trouble": found.trouble, "name": visitor.person.name}
    return _page(request, gate, status, fault=fault, fresh=fresh, **about)


def _shown(key: Passkey) -> dict[str, str]:
    used = f"{key.used:%Y-%m-%d}" if key.used else ""
    return {"id": key.id, "name": key.name, "created": f"{key.created:%Y-%m-%d}", "used": used}


def _page(request: Request, gate: Gate, status: int, **values: Any) -> Response:
    empty = {"fault": "", "codes": [], "mine": [], "trouble": "", "name": "", "fresh": False}
    return with_token(request, gate, "passkeys.html", status, **{**empty, **values})


def _script(  # noqa: PLR0913, PLR0917
    request: Request,
    gate: Gate,
    asked: PasskeyAsked,
    kind: str,
    action: str,
    away: str,
    hidden: dict[str, str],
) -> Response:
    """Render the page whose script asks the browser."""
    values = {"kind": kind, "options": asked.options, "action": action, "away": away}
    place = urlsplit(base_url(request, gate.settings.public_url)).netloc
    return with_token(
        request, gate, "passkey.html", 200, script=True, place=place, hidden=hidden, **values
    )
