"""How a command line is let in from a browser (RFC 8628)."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field

from muster.contracts.base import Message
from muster.contracts.devices import (
    START_DEVICE,
    TAKE_DEVICE,
    DeviceStarted,
    StartDevice,
    TakeDevice,
)
from muster.contracts.names import ShortText
from muster.gateway.gate import Here
from muster.gateway.openapi import PUBLIC, declared
from muster.gateway.origins import address_of, origin_of

router = APIRouter(tags=["session"])


class Wish(Message):
    """Which machine wants in."""

    name: ShortText


class Taking(Message):
    """The secret of the command line."""

    secret: Annotated[str, Field(max_length=200)]


class Taken(Message):
    """A session's secret, to be sent as a bearer token; empty as long as nobody has said yes."""

    token: str = ""


@router.post("/device", summary="Ask to be let in", **declared(PUBLIC, "startDevice"))
async def start_device(body: Wish, request: Request, gate: Here) -> DeviceStarted:
    """Answer a code that a person types at `/device`."""
    gate.logins.admit(address_of(request))
    return await gate.bus.ask(START_DEVICE, StartDevice(name=body.name, origin=origin_of(request)))


@router.post("/device/token", summary="Ask whether one is let in", **declared(PUBLIC, "takeDevice"))
async def take_device(body: Taking, request: Request, gate: Here) -> Taken:
    """Answer the session's secret, once, as soon as somebody has said yes; ask every 2 s."""
    taken = await gate.bus.ask(
        TAKE_DEVICE, TakeDevice(secret=body.secret, origin=origin_of(request))
    )
    return Taken(token=taken.session.secret if taken.session else "")
