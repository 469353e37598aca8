"""Command lines that wait to be let in from a browser; in memory, for ten minutes."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from muster.authority import chain, store
from muster.authority.deciding import Deciding
from muster.authority.part import Tools, address_of, digest, new_secret
from muster.contracts.authority import Session
from muster.contracts.base import NOTHING, Nothing
from muster.contracts.devices import (
    APPROVE_DEVICE,
    LOOK_AT_DEVICE,
    START_DEVICE,
    TAKE_DEVICE,
    ApproveDevice,
    Device,
    DeviceStarted,
    DeviceTaken,
    LookAtDevice,
    StartDevice,
    TakeDevice,
)
from muster.contracts.errors import Denied, NotFound, TooMany
from muster.kit.bus import Caller, answers

_LIVES: Final = timedelta(minutes=10)
_MOST: Final = 1000
_LETTERS: Final = "bcdfghjkmnpqrstvwxz"
"""No vowels, so that no word comes about, and none that look alike."""


@dataclass(slots=True)
class _Waiting:
    device: Device
    code: str
    expires: datetime
    person: str = ""
    """Who has said yes."""
    session: str = ""
    """The session that they said it with."""


class DeviceCalls(Deciding):
    """Letting command lines in."""

    def __init__(self, tools: Tools) -> None:
        """Wait for nobody yet."""
        super().__init__(tools)
        self._devices: dict[str, _Waiting] = {}

    @answers(START_DEVICE)
    async def start_device(self, ask: StartDevice, caller: Caller) -> DeviceStarted:  # noqa: ARG002
        """Remember a command line that wants to be let in."""
        now = self.tools.now()
        self._devices = {k: one for k, one in self._devices.items() if one.expires > now}
        if len(self._devices) >= _MOST:
            raise TooMany("too many command lines wait to be let in: try again in a while")
        secret, expires = new_secret("mdev"), now + _LIVES
        code = "".join(secrets.choice(_LETTERS) for _ in range(8))
        device = Device(name=ask.name, address=ask.origin.address, created=now)
        self._devices[digest(secret)] = _Waiting(device, code, expires)
        return DeviceStarted(secret=secret, code=f"{code[:4]}-{code[4:]}".upper(), expires=expires)

    @answers(LOOK_AT_DEVICE)
    async def look_at_device(self, ask: LookAtDevice, caller: Caller) -> Device:
        """Tell who waits with a code, so that a person knows what they say yes to."""
        return self._waiting(ask.code, caller).device

    @answers(APPROVE_DEVICE)
    async def approve_device(self, ask: ApproveDevice, caller: Caller) -> Nothing:
        """Let the command line act as the caller."""
        waiting, now = self._waiting(ask.code, caller), self.tools.now()
        bearer = await self.tools.db.read(lambda conn: self.bearer(conn, caller))
        if bearer.kind != "session":
            raise Denied("log in: a token lets nobody in")
        detail = f"{waiting.device.name} at {waiting.device.address}"
        await self.tools.db.write(
            lambda conn: chain.append(
                conn, caller.name, "device.approve", now=now, detail=detail,
                address=address_of(caller),
            )
        )  # fmt: skip
        waiting.person, waiting.session = caller.name, str(bearer.id)
        return NOTHING

    @answers(TAKE_DEVICE)
    async def take_device(self, ask: TakeDevice, caller: Caller) -> DeviceTaken:  # noqa: ARG002
        """Give the command line its session, once, as soon as somebody has said yes."""
        key, now = digest(ask.secret), self.tools.now()
        waiting = self._devices.get(key)
        if waiting is None or waiting.expires <= now:
            raise NotFound("this took too long: begin again")
        if not waiting.person:
            return DeviceTaken()
        del self._devices[key]

        def begin(conn: Connection) -> Session:
            row = store.by_id(conn, waiting.session)
            if row is None or self.over(row, now):
                raise Denied("the session that let this command line in is over")
            return self.begin(conn, waiting.person, ask.origin, let_in_by=row)

        return DeviceTaken(session=await self.tools.db.write(begin))

    def _waiting(self, code: str, caller: Caller) -> _Waiting:
        """Return who waits with *code*; codes cannot be tried through."""
        self.slowing.attempt(caller.name, "device")
        wanted, now = "".join(filter(str.isalnum, code.lower())), self.tools.now()
        for one in self._devices.values():
            if secrets.compare_digest(one.code, wanted) and one.expires > now and not one.person:
                self.slowing.succeeded(caller.name, "device")
                return one
        raise NotFound("no command line waits with this code: see what it shows now")
