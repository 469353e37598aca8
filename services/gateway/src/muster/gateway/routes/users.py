"""Users: invite, list, change, disable, delete; their sessions and tokens."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response

from muster.contracts.base import Message
from muster.contracts.names import Seconds, ShortText, Username
from muster.contracts.oidc import LINK_USER, LinkUser, Subject
from muster.contracts.people import (
    CHANGE_USER,
    CREATE_USER,
    DELETE_USER,
    FIND_USER,
    LIST_CREDENTIALS,
    LIST_USERS,
    RESET_PASSWORD,
    ChangeUser,
    CreateUser,
    FindUser,
    Labels,
    ListCredentials,
    ListUsers,
    ResetPassword,
)
from muster.gateway.gate import Me
from muster.gateway.openapi import declared, relayed

router = APIRouter(tags=["users"])

Name = Annotated[Username, Path(description="the user's name", examples=["li"])]


class UserPatch(Message):
    """What may be changed of a user; what is left out stays."""

    full_name: ShortText | None = None
    roles: Labels | None = None
    groups: Labels | None = None
    disabled: bool | None = None


class Reset(Message):
    """How long the link is good for."""

    ttl: Seconds = 86400.0
    factor: bool = False
    """Take the second factor as well."""


class Link(Message):
    """How the identity provider names a user (`sub`)."""

    subject: Subject = ""
    """Empty: they come through it no longer."""


@router.get("/users", summary="List users", **relayed(LIST_USERS, "listUsers"))
async def list_users(ask: Annotated[ListUsers, Query()], me: Me) -> Response:
    """Answer a page of users, ordered by name."""
    return await me.relay(LIST_USERS, ask)


_NEW_USER = {"an operator": {"value": {"name": "li", "full_name": "Li Hua", "roles": ["operator"]}}}


@router.post(
    "/users", summary="Invite a user", status_code=201, **relayed(CREATE_USER, "createUser")
)
async def create_user(
    body: Annotated[CreateUser, Body(openapi_examples=_NEW_USER)], me: Me
) -> Response:
    """Answer the secret of the invitation, once; a page for it is at `/invitation`."""
    return await me.relay(CREATE_USER, body, status=201)


@router.get("/users/{name}", summary="Find a user", **relayed(FIND_USER, "getUser"))
async def get_user(name: Name, me: Me) -> Response:
    """Answer one user."""
    return await me.relay(FIND_USER, FindUser(name=name))


@router.patch("/users/{name}", summary="Change a user", **relayed(CHANGE_USER, "updateUser"))
async def update_user(name: Name, body: UserPatch, me: Me) -> Response:
    """Change what is given; it takes effect at once, on what is open and waiting too."""
    return await me.relay(CHANGE_USER, ChangeUser(name=name, **body.model_dump(exclude_none=True)))


@router.delete(
    "/users/{name}", summary="Delete a user", status_code=204, **declared(DELETE_USER, "deleteUser")
)
async def delete_user(name: Name, me: Me) -> None:
    """Remove a user with all sessions and tokens."""
    await me.ask(DELETE_USER, FindUser(name=name))


@router.post(
    "/users/{name}/reset", summary="Reset a password", **relayed(RESET_PASSWORD, "resetPassword")
)
async def reset_password(name: Name, me: Me, body: Reset | None = None) -> Response:
    """End all that the user has open; answer the secret of a link to choose a new password."""
    ask = ResetPassword(name=name, **(body or Reset()).model_dump())
    return await me.relay(RESET_PASSWORD, ask)


@router.put(
    "/users/{name}/identity",
    summary="Link a user with the identity provider",
    status_code=204,
    **declared(LINK_USER, "linkUser"),
)
async def link_user(name: Name, body: Link, me: Me) -> None:
    """From then on who is called so there is this user here; an empty name undoes it."""
    await me.ask(LINK_USER, LinkUser(name=name, subject=body.subject))


@router.get(
    "/users/{name}/credentials",
    summary="List a user's sessions and tokens",
    **relayed(LIST_CREDENTIALS, "listUserCredentials"),
)
async def user_credentials(name: Name, me: Me) -> Response:
    """Answer the sessions and tokens of a user, newest first; needs `user.read`."""
    return await me.relay(LIST_CREDENTIALS, ListCredentials(person=name))
