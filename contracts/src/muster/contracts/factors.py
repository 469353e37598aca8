"""The second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes."""

from typing import Annotated, Final

from pydantic import Field

from muster.contracts.authority import Origin, Session
from muster.contracts.base import SERVICE, Call, Message, Nothing
from muster.contracts.names import Password

Code = Annotated[str, Field(min_length=1, max_length=64)]
"""Six digits, or a recovery code; spaces and dashes do not matter."""


class StartFactor(Message):
    """Begin to set up one's second factor; an old one holds until the new one is confirmed."""

    password: Password


class FactorStarted(Message):
    """What the authenticator app needs; told only here."""

    secret: str
    uri: str
    """``otpauth://totp/…``, for a QR code."""


class ConfirmFactor(Message):
    """The app's first code: from now on every login needs one."""

    code: Code


class RecoveryCodes(Message):
    """Each opens the door once instead of a code of the app; told only here."""

    codes: list[str]


class ShowFactor(Message):
    """A code, to prove that the second factor is at hand."""

    code: Code


class DropFactor(Message):
    """Do without a second factor from now on."""

    password: Password
    code: Code


class SecondStep(Message):
    """The code that a login still lacks."""

    secret: Annotated[str, Field(max_length=200)]
    """Of the login that has begun, see `Session.needs_code`."""
    code: Code
    origin: Origin = Origin()


SECOND_STEP: Final = Call("muster.svc.authority.second_step", SecondStep, Session, SERVICE)
START_FACTOR: Final = Call("muster.svc.authority.factor_start", StartFactor, FactorStarted, "self")
CONFIRM_FACTOR: Final = Call(
    "muster.svc.authority.factor_confirm", ConfirmFactor, RecoveryCodes, "self"
)
RENEW_RECOVERY: Final = Call(
    "muster.svc.authority.factor_recovery", ShowFactor, RecoveryCodes, "self"
)
SHOW_FACTOR: Final = Call("muster.svc.authority.factor_show", ShowFactor, Nothing, "self")
"""The session counts as fresh for some minutes: what needs a fresh second factor may be done."""
DROP_FACTOR: Final = Call("muster.svc.authority.factor_drop", DropFactor, Nothing, "self")
