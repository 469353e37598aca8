"""The life of `muster-agent helper`: its socket, its callers, its journal."""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from contextlib import ExitStack
from typing import Final

from muster.agent.hands import OwnHands, own_hands
from muster.agent.home import Home
from muster.agent.journal import Journal
from muster.agent.noise import Noise
from muster.agent.privileged.messages import Ask, framed, next_frame
from muster.agent.privileged.obeying import Helper
from muster.agent.privileged.trust import Trust
from muster.agent.settings import Settings
from muster.contracts.errors import Conflict, MusterError, Unavailable
from muster.kit import wire
from muster.kit.files import locked
from muster.kit.tasks import until

log = logging.getLogger(__name__)

_CREDENTIALS: Final = struct.Struct("iII")
"""``struct ucred``: pid, uid, gid; see unix(7)."""
_AT_ONCE: Final = 256
"""Questions that are being answered; more have to wait."""
_WAITING: Final = 10_000
"""Ends of runs that are waited for; more have to wait as well."""
_CALLERS: Final = 8
"""One is enough for the agent; each may hold a message of its own in memory."""


async def serve(home: Home, settings: Settings, stop: asyncio.Event) -> None:
    """Be the helper of *home* until *stop* is set."""
    trust = Trust.load(home)
    home.make()
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(home.lock))
        except Unavailable as error:
            raise Conflict(f"a helper is running already in {home.root}") from error
        async with (
            Journal(home.journal) as journal,
            own_hands(trust.pinned.node, home, settings, journal, trust.pinned.gid) as hands,
        ):
            await until(stop, _helping(home, trust, hands, journal), "helper")


async def _helping(home: Home, trust: Trust, hands: OwnHands, journal: Journal) -> None:
    async with asyncio.TaskGroup() as tasks:
        helper = Helper(trust, hands, journal, tasks)
        with contextlib.suppress(Unavailable):  # then every start is refused as well
            await helper.resume()
        home.socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(Door(helper, tasks).admit, home.socket)
        os.chown(home.socket, -1, trust.pinned.gid)
        home.socket.chmod(0o660)
        home.open_ways()
        log.info("node %s: the helper listens", trust.pinned.node, extra={"action": "helper_ready"})
        async with server:
            await server.serve_forever()


class Door:
    """Lets callers in and reads what they want."""

    def __init__(self, helper: Helper, tasks: asyncio.TaskGroup) -> None:
        """Ask *helper*, in tasks of *tasks*."""
        self.helper = helper
        self.tasks = tasks
        self._callers = 0
        self._noise = Noise()
        self._asking = asyncio.Semaphore(_AT_ONCE)
        self._waiting = asyncio.Semaphore(_WAITING)

    def admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one caller as long as it stays, if it is one whom we serve."""
        uid = _caller(writer)
        if uid not in {0, self.helper.trust.pinned.uid}:
            self._noise.make("a caller", f"user {uid} has no business with the helper")
            writer.close()
        elif self._callers >= _CALLERS:
            self._noise.make("a caller", "there are too many")
            writer.close()
        else:
            self._callers += 1
            self.tasks.create_task(self._served(reader, writer), name="caller")

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except* (EOFError, OSError):
            log.debug("a caller is gone")
        except* MusterError as errors:
            self._noise.make("a caller", errors.exceptions[0])
        finally:
            self._callers -= 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.TaskGroup() as waits:  # nobody waits for an end once the caller is gone
            while True:
                ask = wire.unpack(Ask, await next_frame(reader))
                tasks, places = (
                    (waits, self._waiting) if ask.do == "wait" else (self.tasks, self._asking)
                )
                await places.acquire()
                tasks.create_task(self._answer(ask, writer, places), name=ask.do)

    async def _answer(
        self, ask: Ask, writer: asyncio.StreamWriter, places: asyncio.Semaphore
    ) -> None:
        try:
            answer = await self.helper.answer(ask)
            writer.write(framed(answer))
            await writer.drain()
        except OSError:
            return  # it has gone, and asks again
        except Exception:  # whatever it was, it must not end the helper
            log.exception("%s could not be answered", ask.do)
        finally:
            places.release()


def _caller(writer: asyncio.StreamWriter) -> int:
    """Return the user on the other end, by the kernel's word."""
    sock = writer.get_extra_info("socket")
    said = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(said)
    return int(uid)
