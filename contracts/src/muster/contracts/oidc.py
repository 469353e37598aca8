"""Logging in through the identity provider of one's house: OpenID Connect, code with PKCE.

The authority makes what belongs together (state, nonce, verifier), keeps it, and verifies what
comes back. The gateway leads the browser there, and passes on what it brings back.
"""

from typing import Annotated, Final

from pydantic import Field

from muster.contracts.authority import Origin, Session
from muster.contracts.base import SERVICE, Call, Message, Nothing
from muster.contracts.names import LongText, Password, ShortText, Time, Username

Subject = Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$")]
"""How the provider names a person (`sub`): never an address, and never used again."""


class Ways(Message):
    """How people may log in besides with a password."""

    provider: ShortText = ""
    """What the identity provider is called; empty if there is none."""
    passkeys: bool = False


class StartOidc(Message):
    """Somebody wants to log in through the provider."""

    next: LongText = ""
    """Where the gateway leads them afterwards."""
    origin: Origin = Origin()


class OidcStarted(Message):
    """Where the browser goes, and what it keeps meanwhile."""

    url: str
    browser: str
    """For a cookie: what comes back has to come back to the same browser."""
    expires: Time


class FinishOidc(Message):
    """The browser is back."""

    state: Annotated[str, Field(max_length=200)]
    code: Annotated[str, Field(max_length=4000)] = ""
    error: ShortText = ""
    """What the provider says instead of a code."""
    browser: Annotated[str, Field(max_length=200)] = ""
    origin: Origin = Origin()


class OidcFinished(Message):
    """A session has begun; none, if somebody who has one was linked."""

    session: Session | None = None
    next: LongText = ""


class Identity(Message):
    """As whom the provider knows a person."""

    provider: ShortText = ""
    subject: Subject = ""
    """Empty: not linked."""


class LinkOidc(Message):
    """Link oneself with the provider: the next login there is one as oneself."""

    password: Password
    next: LongText = ""


class LinkUser(Message):
    """Link somebody with the provider's name of them; without one, undo it."""

    name: Username
    subject: Subject = ""


WAYS: Final = Call("muster.svc.authority.ways", Nothing, Ways, SERVICE, safe=True)
START_OIDC: Final = Call("muster.svc.authority.oidc_start", StartOidc, OidcStarted, SERVICE)
FINISH_OIDC: Final = Call("muster.svc.authority.oidc_finish", FinishOidc, OidcFinished, SERVICE)
MY_IDENTITY: Final = Call("muster.svc.authority.oidc_mine", Nothing, Identity, "self", safe=True)
LINK_OIDC: Final = Call("muster.svc.authority.oidc_link", LinkOidc, OidcStarted, "self")
LINK_USER: Final = Call("muster.svc.authority.user_link", LinkUser, Nothing, "user.write")
