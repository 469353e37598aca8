"""Log in, log out, and who I am."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from muster.contracts.authority import CHANGE_PASSWORD, LOGIN, ChangePassword, Login, Person
from muster.contracts.base import Message
from muster.contracts.errors import SecondFactor
from muster.contracts.names import Password, ShortText
from muster.gateway.gate import Here, Me, gate_of
from muster.gateway.openapi import PUBLIC, SELF, declared
from muster.gateway.origins import address_of, origin_of
from muster.gateway.pages import end_session

router = APIRouter(tags=["session"])


class NameAndPassword(Message):
    """What a person logs in with."""

    name: ShortText
    password: Password
    code: ShortText = ""
    """Of the second factor, if there is one."""


_EXAMPLE = {"admin": {"value": {"name": "admin", "password": "correct horse battery"}}}


@router.post("/login", summary="Begin a session", **declared(PUBLIC, "login"))
async def login(
    body: Annotated[NameAndPassword, Body(openapi_examples=_EXAMPLE)],
    request: Request,
    response: Response,
    gate: Here,
) -> Person:
    """Answer who has logged in, with the session's cookies."""
    gate.logins.admit(address_of(request))
    ask = Login(**body.model_dump(), origin=origin_of(request))
    session = await gate.bus.ask(LOGIN, ask, timeout=15)
    if session.needs_code:
        browser = "; or log in from a browser with your passkey" if session.passkey else ""
        raise SecondFactor(f"a code of your second factor is needed as well{browser}")
    gate.cookies.give(response, session)
    return session.person


@router.post("/logout", summary="End the session", status_code=204, **declared(SELF, "logout"))
async def logout(request: Request, response: Response, me: Me) -> None:
    """End the session, and its WebSockets, at once."""
    gate = gate_of(request)
    await end_session(gate, me)
    gate.cookies.take(response)


@router.get("/me", summary="Who I am", **declared(SELF, "getMe", basic=True))
async def get_me(me: Me) -> Person:
    """Answer who is asking, and what they may do."""
    return me.person


@router.post(
    "/me/password",
    summary="Change my password",
    status_code=204,
    **declared(CHANGE_PASSWORD, "changePassword"),
)
async def change_password(body: ChangePassword, request: Request, me: Me) -> None:
    """Change the password; other sessions may end."""
    await me.ask(CHANGE_PASSWORD, body, timeout=15)
    gate_of(request).people.forget_person(me.person.name)
