"""What the authority answers about people: who there is, what they may do, how they come in."""

from typing import Annotated, Final

from pydantic import Field

from muster.contracts.authority import Origin, Session
from muster.contracts.base import SERVICE, Call, Event, Message, Nothing
from muster.contracts.names import (
    Id,
    Int,
    Label,
    Limit,
    NodeName,
    Seconds,
    ShortText,
    Time,
    Username,
)
from muster.contracts.policy import Action, Role, SelectorText

Secret = Annotated[str, Field(max_length=200)]
NewPassword = Annotated[str, Field(min_length=10, max_length=1000)]
Labels = Annotated[list[Label], Field(max_length=64)]


class User(Message):
    """One person, as those see them who may."""

    name: Username
    full_name: ShortText = ""
    roles: Labels = []
    """Given here, by hand."""
    groups: Labels = []
    disabled: bool = False
    invited: bool = False
    """Has not chosen a password yet."""
    second_factor: bool = False
    subject: ShortText = ""
    """How the identity provider names them; empty: they do not come through it."""
    mapped_roles: Labels = []
    """Roles by their groups there; they follow at each login through it."""
    created: Time
    seen: Time | None = None
    """The last time that one of their sessions or tokens was used."""
    account: bool = False
    """A service account: see `muster.contracts.accounts`."""


class ListUsers(Message):
    """A page of people, ordered by name."""

    query: ShortText = ""
    """A part of the name or the full name."""
    limit: Limit = 100
    cursor: ShortText = ""
    people: bool = False
    """Only people, no service accounts."""


class Users(Message):
    """Some people."""

    items: list[User]
    next: str = ""


class FindUser(Message):
    """One person by name."""

    name: Username


class CreateUser(Message):
    """Let somebody in, by a link that works once."""

    name: Username
    full_name: ShortText = ""
    roles: Labels = []
    groups: Labels = []
    ttl: Seconds = 3 * 86400.0


class Invitation(Message):
    """The secret of the link is told only here."""

    name: Username
    secret: str
    expires: Time


class Accept(Message):
    """Choose a password by an invitation; this begins a session."""

    secret: Secret
    password: NewPassword
    origin: Origin = Origin()


class ChangeUser(Message):
    """Change what is given; the rest stays."""

    name: Username
    full_name: ShortText | None = None
    roles: Labels | None = None
    groups: Labels | None = None
    disabled: bool | None = None


class ResetPassword(Message):
    """Let somebody choose a new password, by a link that works once; sessions and tokens end."""

    name: Username
    factor: bool = False
    """Take the second factor as well: it was lost."""
    ttl: Seconds = 86400.0


class Roles(Message):
    """All roles, ordered by name."""

    items: list[Role]


class RoleName(Message):
    """A role by name."""

    name: Label


class UserGroup(Message):
    """A group of people, and the roles that each of them has by it."""

    name: Label
    roles: Labels = []
    note: ShortText = ""


class UserGroups(Message):
    """All groups of people, ordered by name."""

    items: list[UserGroup]


class UserGroupName(Message):
    """A group of people by name."""

    name: Label


class Credential(Message):
    """A way in: a session of a browser, or a token of a program."""

    id: Id
    kind: Label
    """``session``, ``token``, ``app`` (an app password) or ``key`` (of a service account)."""
    person: Username
    name: ShortText = ""
    scopes: list[Action] = []
    created: Time
    expires: Time
    seen: Time
    address: ShortText = ""
    agent: ShortText = ""
    current: bool = False
    """It is the one that asks."""


class ListCredentials(Message):
    """The ways in of one person; of oneself if no name is given."""

    person: Username | None = None


class Credentials(Message):
    """Newest first."""

    items: list[Credential]


class RevokeCredential(Message):
    """End a session or a token, at once."""

    id: Id


class CreateToken(Message):
    """A token for a program that acts as oneself, but may do no more than *scopes*.

    An app password has to say which: everything is too much for a password without a second factor.
    """

    name: Annotated[ShortText, Field(min_length=1)]
    scopes: Annotated[list[Action], Field(min_length=1, max_length=64)] = ["*"]
    ttl: Seconds = 90 * 86400.0
    app: bool = False
    """An app password: for programs that know only a name and a password (HTTP Basic)."""


class TokenCreated(Message):
    """The secret of the token is told only here."""

    id: Id
    secret: str
    expires: Time


class AskVerdict(Message):
    """Somebody asks whether they may do this on these nodes."""

    action: Annotated[str, Field(pattern=r"^[a-z]+\.[a-z]+$")]
    nodes: SelectorText = "all"
    run_as: ShortText = ""


class Verdict(Message):
    """What may be done, and why the rest may not."""

    action: ShortText
    allowed: list[NodeName] = []
    approval: list[NodeName] = []
    """Allowed as soon as another person approves."""
    refused: dict[str, list[NodeName]] = {}
    """Nodes by the reason; an action on the server as a whole has no nodes, and no reason if it
    is allowed."""


class RightsChanged(Message):
    """What these people may do has changed: their tickets of an earlier revision are worthless."""

    revision: Int
    names: list[Username] = []
    everyone: bool = False
    """Too many to name."""


class RightsAfter(Message):
    """A service asks which changes of rights came after a revision."""

    revision: Int


LIST_USERS: Final = Call("muster.svc.authority.user_list", ListUsers, Users, "user.read", safe=True)
FIND_USER: Final = Call("muster.svc.authority.user_find", FindUser, User, "user.read", safe=True)
CREATE_USER: Final = Call("muster.svc.authority.user_create", CreateUser, Invitation, "user.write")
ACCEPT: Final = Call("muster.svc.authority.accept", Accept, Session, SERVICE)
RESET_PASSWORD: Final = Call(
    "muster.svc.authority.user_reset", ResetPassword, Invitation, "user.write"
)
CHANGE_USER: Final = Call("muster.svc.authority.user_change", ChangeUser, User, "user.write")
DELETE_USER: Final = Call("muster.svc.authority.user_delete", FindUser, Nothing, "user.write")
LIST_ROLES: Final = Call("muster.svc.authority.role_list", Nothing, Roles, "self", safe=True)
PUT_ROLE: Final = Call("muster.svc.authority.role_put", Role, Role, "role.write")
DELETE_ROLE: Final = Call("muster.svc.authority.role_delete", RoleName, Nothing, "role.write")
LIST_USER_GROUPS: Final = Call(
    "muster.svc.authority.group_list", Nothing, UserGroups, "user.read", safe=True
)
PUT_USER_GROUP: Final = Call("muster.svc.authority.group_put", UserGroup, UserGroup, "user.write")
DELETE_USER_GROUP: Final = Call(
    "muster.svc.authority.group_delete", UserGroupName, Nothing, "user.write"
)
LIST_CREDENTIALS: Final = Call(
    "muster.svc.authority.credential_list", ListCredentials, Credentials, "self", safe=True
)
REVOKE_CREDENTIAL: Final = Call(
    "muster.svc.authority.credential_revoke", RevokeCredential, Nothing, "self"
)
CREATE_TOKEN: Final = Call(
    "muster.svc.authority.api_token_create", CreateToken, TokenCreated, "self"
)
MAY: Final = Call("muster.svc.authority.may", AskVerdict, Verdict, "self", safe=True)

RIGHTS_AFTER: Final = Call(
    "muster.svc.authority.rights", RightsAfter, RightsChanged, SERVICE, safe=True
)

RIGHTS_CHANGED: Final = Event("muster.live.authority.rights", RightsChanged)
"""To all services, lossy: who may have missed one asks `RIGHTS_AFTER`."""
