"""Service accounts: programs of others (a CI system, a sensor gateway) that speak to the broker.

A service account is a user without a password: roles, groups, disabling and the audit work as
they do for people. Its credentials are for the broker alone, and end. It publishes what it has to
tell on ``muster.in.<name>.>``, which the stream `IN` keeps; it asks what its roles allow, with a
ticket that it gets on a subject of its own.
"""

from typing import Final

from muster.contracts.authority import Granted
from muster.contracts.base import ACCOUNT, Call, Message, Nothing
from muster.contracts.names import Note, PublicKey, Seconds, ShortText, Time, Token
from muster.contracts.people import Labels

INGRESS: Final = "muster.in"
"""What external systems tell: ``muster.in.<account>.<whatever>``."""

DAYS: Final = 90
"""How long credentials are good for, if nobody says otherwise."""


class Account(Message):
    """One service account, as those see it who may."""

    name: Token
    note: Note = ""
    roles: Labels = []
    groups: Labels = []
    disabled: bool = False
    created: Time
    expires: Time | None = None
    """When its credentials end; None if it has none that are good."""
    seen: Time | None = None
    """The last time that it asked for a ticket."""
    key: ShortText = ""
    """The public key of its credentials."""
    subjects: list[ShortText] = []
    """What the broker lets it publish and ask at this moment."""


class Accounts(Message):
    """All service accounts, ordered by name."""

    items: list[Account]


class AccountName(Message):
    """A service account by name."""

    name: Token


class CreateAccount(Message):
    """Let an external system in; whoever makes its key sends the public half."""

    name: Token
    """Also the source of what it tells."""
    key: PublicKey
    note: Note = ""
    roles: Labels = []
    groups: Labels = []
    ttl: Seconds = DAYS * 86400.0


class RenewAccount(Message):
    """Fresh credentials before the old ones end; with another key the old ones end at once."""

    name: Token
    key: PublicKey | None = None
    """The one that it has, if none is given."""
    ttl: Seconds = DAYS * 86400.0


class AccountCredentials(Message):
    """What an external system needs besides its own private key."""

    name: Token
    jwt: str
    """The NATS user JWT; with the seed of the key it makes a ``.creds`` file."""
    expires: Time
    urls: list[str]
    """Where the broker listens."""
    ca: str = ""
    """PEM of the certificate authority; empty when the broker speaks no TLS."""
    inbox: ShortText
    """The prefix of inboxes, the only thing that it may subscribe to."""
    publish: ShortText
    """Below this it may publish."""
    ticket: ShortText
    """Where it asks for a ticket."""


LIST_ACCOUNTS: Final = Call(
    "muster.svc.authority.account_list", Nothing, Accounts, "user.read", safe=True
)
FIND_ACCOUNT: Final = Call(
    "muster.svc.authority.account_find", AccountName, Account, "user.read", safe=True
)
CREATE_ACCOUNT: Final = Call(
    "muster.svc.authority.account_create", CreateAccount, AccountCredentials, "user.write"
)
RENEW_ACCOUNT: Final = Call(
    "muster.svc.authority.account_renew", RenewAccount, AccountCredentials, "user.write"
)
REVOKE_ACCOUNT: Final = Call(
    "muster.svc.authority.account_revoke", AccountName, Nothing, "user.write"
)
GET_TICKET: Final = Call("muster.svc.authority.ticket", Nothing, Granted, ACCOUNT, safe=True)
"""A short-lived ticket, which goes into the header ``Muster-Ticket`` of every question."""
