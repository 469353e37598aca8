"""Keeping the broker in line: who is shut out, and what service accounts may do."""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from muster.authority import account_keys, store
from muster.authority.part import Part, Tools
from muster.authority.suspending import Suspensions
from muster.contracts.errors import MusterError, Unavailable
from muster.contracts.people import RightsChanged

log = logging.getLogger(__name__)

_PUSH: Final = "$SYS.REQ.CLAIMS.UPDATE"
_EVERY: Final = 30.0


class Pushing(Part):
    """The broker's accounts, as the database wants them."""

    def __init__(self, tools: Tools) -> None:
        """Work with *tools*."""
        super().__init__(tools)
        self._pushing = asyncio.Lock()
        self._pushed: set[str] = set()
        """The accounts that the broker is known to have."""
        self._again = asyncio.Event()
        self.suspensions = Suspensions()
        tools.system.on_connect(self._reconnected)

    async def tell(self, change: RightsChanged | None) -> None:
        """Tell of a change of rights; for service accounts it holds at the broker, too."""
        await super().tell(change)
        if change is not None and await self.tools.db.read(
            lambda conn: account_keys.concerned(conn, change)
        ):
            await self.push()

    async def push(self) -> None:
        """Bring the broker's accounts in line with our database; one at a time.

        Two at once could push the shorter list last, and let a revoked node in again.
        """
        async with self._pushing:
            wanted = [await self._inner(), await self._outer()]
            for token in wanted:
                if token not in self._pushed:
                    await self._push(token)
                    self._pushed.add(token)
            self._pushed = set(wanted)

    async def _push(self, token: str) -> None:
        try:
            answer = await self.tools.system.request(_PUSH, token.encode(), timeout=5)
        except MusterError:
            self.push_soon()
            raise
        if b'"code":200' not in answer.replace(b" ", b""):
            raise Unavailable(f"the broker did not take the account: {answer[:300]!r}")
        log.info("the broker has the account", extra={"action": "push"})

    async def _inner(self) -> str:
        """Return MUSTER as it should be; it is in its file, so no restart forgets it."""
        now = self.tools.now()
        shut = await self.tools.db.read(lambda conn: store.revoked(conn, now))
        shut = {**self.suspensions.keys(now), **shut}
        wanted = {key: int(since.timestamp()) + 1 for key, since in shut.items()}
        return self.tools.world.current_account_jwt(wanted)

    async def _outer(self) -> str:
        """Return EXTERNAL as it should be: each good credential with what it may do now."""
        now = self.tools.now()
        wanted = await self.tools.db.read(lambda conn: account_keys.templates(conn, now))
        return self.tools.world.current_external_jwt(wanted)

    def push_soon(self) -> None:
        """Have it looked at again, without waiting for it."""
        self._again.set()

    async def push_forever(self) -> None:
        """Push what was written down but did not reach the broker; forget what has expired."""
        while True:
            self._again.clear()
            try:
                await self.push()
            except MusterError as error:
                log.warning("the revocations are not with the broker yet: %s", error)
                await asyncio.sleep(1)
            else:
                ends = self.suspensions.next_end(self.tools.now())
                with suppress(TimeoutError):
                    async with asyncio.timeout(_EVERY if ends is None else min(_EVERY, ends + 1)):
                        await self._again.wait()

    async def _reconnected(self) -> None:
        """Push again: this may be a broker that has lost its memory."""
        self._pushed = set()
        self.push_soon()
