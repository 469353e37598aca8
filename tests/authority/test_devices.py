"""Command lines that are let in from a browser."""

from datetime import timedelta

import pytest

from muster.contracts.devices import (
    APPROVE_DEVICE,
    LOOK_AT_DEVICE,
    START_DEVICE,
    TAKE_DEVICE,
    ApproveDevice,
    DeviceStarted,
    LookAtDevice,
    StartDevice,
    TakeDevice,
)
from muster.contracts.errors import Denied, NotFound, TooMany
from muster.contracts.people import CHANGE_USER, CREATE_TOKEN, ChangeUser, CreateToken
from tests.authority.conftest import HOME, Stage


async def started(stage: Stage) -> DeviceStarted:
    """Begin, as a command line on a laptop."""
    return await stage.client.ask(START_DEVICE, StartDevice(name="laptop", origin=HOME))


async def taken(stage: Stage, secret: str) -> str | None:
    """Ask whether somebody has said yes; return the session's secret."""
    ask = TakeDevice(secret=secret, origin=HOME)
    session = (await stage.client.ask(TAKE_DEVICE, ask)).session
    return session.secret if session else None


async def test_it_gets_a_session_of_whoever_says_yes(stage: Stage) -> None:
    """However the code is typed; once; and it is on record who let what in."""
    li = await stage.user("li", "operator")
    device = await started(stage)
    assert await taken(stage, device.secret) is None
    seen = await stage.ask(LOOK_AT_DEVICE, LookAtDevice(code=device.code.lower()), li)
    assert (seen.name, seen.address) == ("laptop", "192.0.2.7")
    await stage.ask(APPROVE_DEVICE, ApproveDevice(code=device.code.replace("-", " ")), li)
    secret = await taken(stage, device.secret)
    assert secret
    assert (await stage.exchange(secret)).person.name == "li"
    with pytest.raises(NotFound):
        await taken(stage, device.secret)
    with pytest.raises(NotFound):
        await stage.ask(APPROVE_DEVICE, ApproveDevice(code=device.code), li)
    records = await stage.audit(action="device.approve")
    assert [(one.who, one.detail) for one in records] == [("li", "laptop at 192.0.2.7")]


async def test_who_is_shut_out_meanwhile_lets_nobody_in(stage: Stage) -> None:
    """The yes was of a session; a token cannot say it, and ten minutes are the end."""
    li = await stage.user("li", "operator")
    device = await started(stage)
    token = await stage.ask(CREATE_TOKEN, CreateToken(name="t", scopes=["*"]), li)
    with pytest.raises(Denied, match="token"):
        await stage.ask(APPROVE_DEVICE, ApproveDevice(code=device.code), token.secret)
    await stage.ask(APPROVE_DEVICE, ApproveDevice(code=device.code), li)
    await stage.ask(CHANGE_USER, ChangeUser(name="li", disabled=True))
    with pytest.raises(Denied, match="over"):
        await taken(stage, device.secret)
    late = await started(stage)
    stage.clock.ahead = timedelta(minutes=11)
    with pytest.raises(NotFound, match="too long"):
        await taken(stage, late.secret)


async def test_codes_cannot_be_tried_through(stage: Stage) -> None:
    """After a few wrong ones it gets slow."""
    li = await stage.user("li", "operator")
    await started(stage)
    for number in range(10):
        try:
            await stage.ask(LOOK_AT_DEVICE, LookAtDevice(code=f"bcdf{number}"), li)
        except TooMany:
            break
        except NotFound:
            continue
    else:
        pytest.fail("ten wrong codes in a row")
