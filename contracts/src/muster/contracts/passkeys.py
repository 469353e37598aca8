"""Passkeys (WebAuthn): a key in a device, or in a store of passwords, for this server alone.

The device asks for a finger or a PIN, so a passkey is both factors at once: with one, a name and a
password are not needed; after a password it is the second factor.
"""

from typing import Annotated, Final

from pydantic import Field

from muster.contracts.authority import Origin, Session
from muster.contracts.base import SERVICE, Call, Message, Nothing
from muster.contracts.names import TEXT, Id, Password, ShortText, Time

Said = Annotated[str, Field(min_length=2, max_length=32_768)]
"""What the browser says: a `PublicKeyCredential` as JSON."""

PasskeyName = Annotated[str, Field(min_length=1, max_length=100, pattern=TEXT)]
Half = Annotated[str, Field(max_length=200)]
"""The secret of a login that has begun, see `Session.needs_code`; empty: there is none."""


class StartPasskey(Message):
    """Begin to add a passkey."""

    password: Password


class PasskeyAsked(Message):
    """What the browser is to ask for: options as JSON, good once and for five minutes."""

    options: str


class AddPasskey(Message):
    """What the browser has made."""

    name: PasskeyName
    response: Said


class Passkey(Message):
    """A passkey, as its owner sees it."""

    id: Id
    name: ShortText
    created: Time
    used: Time | None = None


class PasskeyAdded(Message):
    """From now on a login needs a second factor; recovery codes come with the first one."""

    passkey: Passkey
    codes: list[str] = []
    """Told only here."""


class Passkeys(Message):
    """One's own, oldest first."""

    items: list[Passkey]
    trouble: ShortText = ""
    """Why this server cannot have any; empty: it can."""


class RenamePasskey(Message):
    """Call one's passkey something else."""

    id: Id
    name: PasskeyName


class DropPasskey(Message):
    """Forget one's passkey; it takes the password and a fresh second factor."""

    id: Id
    password: Password


class AskForPasskey(Message):
    """Somebody wants to log in with a passkey, or to finish a login with one."""

    half: Half = ""
    origin: Origin = Origin()


class LoginByPasskey(Message):
    """What the browser says."""

    response: Said
    half: Half = ""
    origin: Origin = Origin()


class ShowPasskey(Message):
    """Prove that one's passkey is at hand."""

    response: Said


START_PASSKEY: Final = Call(
    "muster.svc.authority.passkey_start", StartPasskey, PasskeyAsked, "self"
)
ADD_PASSKEY: Final = Call("muster.svc.authority.passkey_add", AddPasskey, PasskeyAdded, "self")
LIST_PASSKEYS: Final = Call(
    "muster.svc.authority.passkey_list", Nothing, Passkeys, "self", safe=True
)
RENAME_PASSKEY: Final = Call("muster.svc.authority.passkey_rename", RenamePasskey, Nothing, "self")
DROP_PASSKEY: Final = Call("muster.svc.authority.passkey_drop", DropPasskey, Nothing, "self")
ASK_FOR_PASSKEY: Final = Call(
    "muster.svc.authority.passkey_ask", AskForPasskey, PasskeyAsked, SERVICE
)
LOGIN_BY_PASSKEY: Final = Call(
    "muster.svc.authority.passkey_login", LoginByPasskey, Session, SERVICE
)
ASK_FOR_MY_PASSKEY: Final = Call(
    "muster.svc.authority.passkey_ask_me", Nothing, PasskeyAsked, "self"
)
SHOW_PASSKEY: Final = Call("muster.svc.authority.passkey_show", ShowPasskey, Nothing, "self")
"""As `SHOW_FACTOR`: the session counts as fresh for some minutes."""
