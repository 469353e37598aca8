"""Letting a command line in from a browser, as RFC 8628 does it.

The command line shows a short code; whoever has logged in somewhere types it there and says yes;
the command line, which has been asking meanwhile, gets a session of that person.
"""

from typing import Annotated, Final

from pydantic import Field

from muster.contracts.authority import Origin, Session
from muster.contracts.base import SERVICE, Call, Message, Nothing
from muster.contracts.names import ShortText, Time

DeviceCode = Annotated[str, Field(min_length=1, max_length=20)]
"""What a person types: letters, in any case, with or without the dash."""


class StartDevice(Message):
    """A command line wants to be let in."""

    name: ShortText
    """Of the machine, for the person who is asked."""
    origin: Origin = Origin()


class DeviceStarted(Message):
    """The secret is for the command line alone, the code for the person."""

    secret: str
    code: str
    expires: Time


class LookAtDevice(Message):
    """Ask which command line waits with this code."""

    code: DeviceCode


class Device(Message):
    """A command line that waits."""

    name: ShortText
    address: ShortText
    created: Time


class ApproveDevice(Message):
    """Let the command line with this code act as oneself."""

    code: DeviceCode


class TakeDevice(Message):
    """The command line asks whether somebody has said yes."""

    secret: Annotated[str, Field(max_length=200)]
    origin: Origin = Origin()


class DeviceTaken(Message):
    """A session, or nothing yet."""

    session: Session | None = None


START_DEVICE: Final = Call("muster.svc.authority.device_start", StartDevice, DeviceStarted, SERVICE)
LOOK_AT_DEVICE: Final = Call(
    "muster.svc.authority.device_look", LookAtDevice, Device, "self", safe=True
)
APPROVE_DEVICE: Final = Call("muster.svc.authority.device_approve", ApproveDevice, Nothing, "self")
TAKE_DEVICE: Final = Call("muster.svc.authority.device_take", TakeDevice, DeviceTaken, SERVICE)
