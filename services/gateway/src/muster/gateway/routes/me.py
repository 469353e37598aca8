"""What is mine: sessions, API tokens, second factor, rights, and the invitation that I came by."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request, Response
from pydantic import Field

from muster.contracts.authority import Person
from muster.contracts.base import NOTHING, Message
from muster.contracts.errors import SecondFactor
from muster.contracts.factors import (
    CONFIRM_FACTOR,
    DROP_FACTOR,
    RENEW_RECOVERY,
    SHOW_FACTOR,
    START_FACTOR,
    ConfirmFactor,
    DropFactor,
    ShowFactor,
    StartFactor,
)
from muster.contracts.names import Id, Password
from muster.contracts.passkeys import (
    DROP_PASSKEY,
    LIST_PASSKEYS,
    RENAME_PASSKEY,
    DropPasskey,
    PasskeyName,
    RenamePasskey,
)
from muster.contracts.people import (
    ACCEPT,
    CREATE_TOKEN,
    LIST_CREDENTIALS,
    MAY,
    REVOKE_CREDENTIAL,
    Accept,
    AskVerdict,
    CreateToken,
    ListCredentials,
    NewPassword,
    RevokeCredential,
)
from muster.gateway.gate import Here, Me
from muster.gateway.openapi import PUBLIC, declared, relayed
from muster.gateway.origins import address_of, origin_of

router = APIRouter(tags=["session"])

CredentialId = Annotated[Id, Path(description="id of the session or the token")]
PasskeyId = Annotated[Id, Path(description="id of the passkey")]


class Acceptance(Message):
    """An invitation and the password of one's choice."""

    secret: Annotated[str, Field(max_length=200)]
    password: NewPassword


class Name(Message):
    """What a passkey is called."""

    name: PasskeyName


class Proof(Message):
    """The password again; anything where there is none."""

    password: Password


@router.get(
    "/me/credentials",
    summary="List my sessions and tokens",
    **relayed(LIST_CREDENTIALS, "listMyCredentials"),
)
async def my_credentials(me: Me) -> Response:
    """Answer my sessions and tokens, newest first."""
    return await me.relay(LIST_CREDENTIALS, ListCredentials())


@router.delete(
    "/credentials/{credential}",
    summary="End a session or a token",
    status_code=204,
    **declared(REVOKE_CREDENTIAL, "revokeCredential"),
)
async def revoke_credential(credential: CredentialId, me: Me) -> None:
    """End it at once; that of somebody else needs `user.write`."""
    await me.ask(REVOKE_CREDENTIAL, RevokeCredential(id=credential))


_TOKEN = {"for a monitor": {"value": {"name": "grafana", "scopes": ["node.read"], "ttl": 2592000}}}


@router.post(
    "/me/tokens",
    summary="Make an API token",
    status_code=201,
    **relayed(CREATE_TOKEN, "createApiToken"),
)
async def create_token(
    body: Annotated[CreateToken, Body(openapi_examples=_TOKEN)], me: Me
) -> Response:
    """Answer the secret of a token that acts as me within `scopes`; it is told only here."""
    return await me.relay(CREATE_TOKEN, body, status=201)


@router.get("/me/can", summary="What may I do", **relayed(MAY, "getVerdict"))
async def can(ask: Annotated[AskVerdict, Query()], me: Me) -> Response:
    """Answer on which nodes I may do something, and why not on the others."""
    return await me.relay(MAY, ask)


@router.post(
    "/invitations/accept", summary="Accept an invitation", **declared(PUBLIC, "acceptInvitation")
)
async def accept(body: Acceptance, request: Request, response: Response, gate: Here) -> Person:
    """Choose a password; answer who one is now, with the cookies of a session."""
    gate.logins.admit(address_of(request))
    ask = Accept(secret=body.secret, password=body.password, origin=origin_of(request))
    session = await gate.bus.ask(ACCEPT, ask, timeout=15)
    if session.needs_code:
        raise SecondFactor("the password is kept; log in with it and a code of your second factor")
    gate.cookies.give(response, session)
    return session.person


@router.post("/me/factor", summary="Set up a second factor", **relayed(START_FACTOR, "startFactor"))
async def start_factor(body: StartFactor, me: Me) -> Response:
    """Answer what an authenticator app needs; it holds as soon as its first code is shown."""
    return await me.relay(START_FACTOR, body, timeout=15)


@router.post(
    "/me/factor/confirm",
    summary="Confirm a second factor",
    **relayed(CONFIRM_FACTOR, "confirmFactor"),
)
async def confirm_factor(body: ConfirmFactor, me: Me) -> Response:
    """Answer recovery codes; other sessions end."""
    return await me.relay(CONFIRM_FACTOR, body)


@router.post(
    "/me/factor/show",
    summary="Show the second factor",
    status_code=204,
    **declared(SHOW_FACTOR, "showFactor"),
)
async def show_factor(body: ShowFactor, me: Me) -> None:
    """Let this session do, for some minutes, what needs a fresh second factor."""
    await me.ask(SHOW_FACTOR, body)


@router.post(
    "/me/factor/recovery",
    summary="Make new recovery codes",
    **relayed(RENEW_RECOVERY, "renewRecovery"),
)
async def renew_recovery(body: ShowFactor, me: Me) -> Response:
    """Answer new recovery codes; the old ones are worthless."""
    return await me.relay(RENEW_RECOVERY, body)


@router.post(
    "/me/factor/drop",
    summary="Do without a second factor",
    status_code=204,
    **declared(DROP_FACTOR, "dropFactor"),
)
async def drop_factor(body: DropFactor, me: Me) -> None:
    """It takes the password and a code."""
    await me.ask(DROP_FACTOR, body, timeout=15)


@router.get("/me/passkeys", summary="List my passkeys", **relayed(LIST_PASSKEYS, "listMyPasskeys"))
async def my_passkeys(me: Me) -> Response:
    """Answer my passkeys, oldest first; they are added and shown on the page `/passkeys`."""
    return await me.relay(LIST_PASSKEYS, NOTHING)


@router.patch(
    "/me/passkeys/{passkey}",
    summary="Rename a passkey",
    status_code=204,
    **declared(RENAME_PASSKEY, "renamePasskey"),
)
async def rename_passkey(passkey: PasskeyId, body: Name, me: Me) -> None:
    """Call one of mine something else."""
    await me.ask(RENAME_PASSKEY, RenamePasskey(id=passkey, name=body.name))


@router.post(
    "/me/passkeys/{passkey}/drop",
    summary="Remove a passkey",
    status_code=204,
    **declared(DROP_PASSKEY, "dropPasskey"),
)
async def drop_passkey(passkey: PasskeyId, body: Proof, me: Me) -> None:
    """It takes the password, and a second factor that was shown just now."""
    await me.ask(DROP_PASSKEY, DropPasskey(id=passkey, password=body.password), timeout=15)
