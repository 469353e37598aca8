"""Service accounts: external systems at the broker."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response

from muster.contracts.accounts import (
    CREATE_ACCOUNT,
    DAYS,
    FIND_ACCOUNT,
    LIST_ACCOUNTS,
    RENEW_ACCOUNT,
    REVOKE_ACCOUNT,
    AccountName,
    CreateAccount,
    RenewAccount,
)
from muster.contracts.base import NOTHING, Message
from muster.contracts.names import PublicKey, Seconds, Token
from muster.gateway.gate import Me
from muster.gateway.openapi import declared, relayed

router = APIRouter(tags=["users"])

Name = Annotated[Token, Path(description="the service account's name", examples=["ci"])]


class Renewal(Message):
    """The public key if it is another one, and how long the credentials are good for."""

    key: PublicKey | None = None
    ttl: Seconds = DAYS * 86400.0


@router.get("/accounts", summary="List service accounts", **relayed(LIST_ACCOUNTS, "listAccounts"))
async def list_accounts(me: Me) -> Response:
    """Answer all service accounts, by name."""
    return await me.relay(LIST_ACCOUNTS, NOTHING)


_NEW = {
    "a build server": {
        "value": {"name": "ci", "key": "U" + "A" * 55, "roles": ["operator"], "ttl": 7776000}
    }
}


@router.post(
    "/accounts",
    summary="Make a service account",
    status_code=201,
    **relayed(CREATE_ACCOUNT, "createAccount"),
)
async def create_account(
    body: Annotated[CreateAccount, Body(openapi_examples=_NEW)], me: Me
) -> Response:
    """Answer what makes, with the private half of `key`, a `.creds` file for NATS.

    Roles and groups are changed, and the account is disabled, as for any user: `PATCH /users/ci`.
    """
    return await me.relay(CREATE_ACCOUNT, body, status=201)


@router.get(
    "/accounts/{name}", summary="Find a service account", **relayed(FIND_ACCOUNT, "getAccount")
)
async def get_account(name: Name, me: Me) -> Response:
    """Answer one service account, and the subjects on which it may publish."""
    return await me.relay(FIND_ACCOUNT, AccountName(name=name))


@router.post(
    "/accounts/{name}/renew",
    summary="Renew a service account",
    **relayed(RENEW_ACCOUNT, "renewAccount"),
)
async def renew_account(name: Name, me: Me, body: Renewal | None = None) -> Response:
    """Answer fresh credentials; those of another key end at once."""
    ask = RenewAccount(name=name, **(body or Renewal()).model_dump())
    return await me.relay(RENEW_ACCOUNT, ask)


@router.delete(
    "/accounts/{name}",
    summary="Revoke a service account",
    status_code=204,
    **declared(REVOKE_ACCOUNT, "revokeAccount"),
)
async def revoke_account(name: Name, me: Me) -> None:
    """Shut it out at once and for good; what it has told and nobody has taken is dropped."""
    await me.ask(REVOKE_ACCOUNT, AccountName(name=name))
