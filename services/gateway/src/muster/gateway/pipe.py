"""A WebSocket that is passed on: messages both ways until one side, or the session, has ended."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from muster.contracts.errors import MusterError, Unauthenticated
from muster.gateway.gate import Gate
from muster.gateway.live import BEAT, Client
from muster.gateway.people import Visitor

log = logging.getLogger(__name__)


class Pipe:
    """Joins the browser's WebSocket to the dashboard's."""

    def __init__(
        self, gate: Gate, visitor: Visitor, near: WebSocket, far: ClientConnection
    ) -> None:
        """Join *near* to *far*, on behalf of *visitor*."""
        self._gate = gate
        self._visitor = visitor
        self._near = near
        self._far = far

    async def hold(self) -> None:
        """Carry messages until the end, then close the browser's side."""
        async with self._gate.hub.client(self._visitor) as client, asyncio.TaskGroup() as group:
            works = (self._outwards(), self._inwards(), self._watching(client))
            tasks = [group.create_task(self._ending(work, client.end)) for work in works]
            code, reason = await client.cut
            for task in tasks:
                task.cancel()
        with suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(5):
                await self._near.close(code, reason)

    async def _ending(
        self, work: Coroutine[None, None, tuple[int, str]], end: Callable[[int, str], None]
    ) -> None:
        end(*await work)

    async def _outwards(self) -> tuple[int, str]:
        try:
            while (message := await self._near.receive())["type"] != "websocket.disconnect":
                text = message.get("text")
                await self._far.send(text if text is not None else message["bytes"])
        except (ConnectionClosed, RuntimeError) as error:
            log.debug("one side has closed: %s", error)
        return 1000, ""

    async def _inwards(self) -> tuple[int, str]:
        with suppress(ConnectionClosed, RuntimeError, WebSocketDisconnect):
            async for message in self._far:
                if isinstance(message, str):
                    await self._near.send_text(message)
                else:
                    await self._near.send_bytes(message)
        return _code(self._far.close_code), self._far.close_reason or ""

    async def _watching(self, client: Client) -> tuple[int, str]:
        visitor = self._visitor
        while True:
            await client.next_look(BEAT)
            try:
                visitor = await self._gate.people.again(visitor)
            except Unauthenticated:
                return 1008, "the session has ended"
            except MusterError as error:
                log.debug("the session could not be checked: %s", error)


def _code(code: int | None) -> int:
    """Return a close code that may be sent; some only say that none has come."""
    return 1011 if code in {None, 1005, 1006, 1015} else code or 1011
