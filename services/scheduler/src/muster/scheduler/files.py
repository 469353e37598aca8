"""Result files: asked of the agent, under a signed order to read that the caller obtains."""

import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from muster.contracts.authority import SIGN, Sign
from muster.contracts.base import Message
from muster.contracts.errors import NoAnswer, NotFound, Unavailable
from muster.contracts.runs import (
    LIST_FILES,
    READ_FILE,
    FilePart,
    ListFiles,
    Read,
    ReadAsk,
    ReadFile,
    ResultFiles,
)
from muster.kit import wire
from muster.kit.bus import Bus, Caller, answers
from muster.kit.sql import Database
from muster.scheduler import store
from muster.scheduler.seeing import Seeing

_VALID: Final = 300.0
"""Seconds for which one signed order to read serves its caller."""

A = TypeVar("A", bound=Message)


class Files:
    """The part of the scheduler that reads result files."""

    def __init__(self, bus: Bus, db: Database) -> None:
        """Ask agents over *bus*."""
        self.bus = bus
        self._db = db
        self.seeing = Seeing(bus)
        self._orders: dict[tuple[int, str, str, str], tuple[float, bytes]] = {}

    @answers(LIST_FILES)
    async def files(self, ask: ListFiles, caller: Caller) -> ResultFiles:
        """List the result files of one target."""
        await self.seeing.target(caller, ask.run, ask.node)
        order = await self._order(ask.run, ask.node, caller)
        return await self._read(ask.node, ReadAsk(command=order), ResultFiles)

    @answers(READ_FILE)
    async def file(self, ask: ReadFile, caller: Caller) -> FilePart:
        """Return a part of one result file."""
        await self.seeing.target(caller, ask.run, ask.node)
        order = await self._order(ask.run, ask.node, caller)
        question = ReadAsk(
            command=order, path=ask.path, output=ask.output, offset=ask.offset, limit=ask.limit
        )
        return await self._read(ask.node, question, FilePart)

    async def _read(self, node: str, ask: ReadAsk, kind: type[A]) -> A:
        subject = f"muster.cmd.{node}.read"
        try:
            data = await self.bus.request(subject, wire.pack(ask), timeout=10, patience=0)
        except (Unavailable, NoAnswer) as error:
            raise Unavailable("the node is away: its files can be read when it is back") from error
        return wire.unpack(kind, data)

    async def _order(self, run: str, node: str, caller: Caller) -> bytes:
        """Return a signed order to read for this caller, an earlier one while it is valid."""
        revision = caller.ticket.revision if caller.ticket else 0
        key = (revision, caller.name, run, node)  # not beyond the next change of rights
        until, order = self._orders.get(key, (0.0, b""))
        if until > time.monotonic() + 30:
            return order
        rows = await self._db.read(lambda conn: store.lock_targets(conn, [(run, node)]))
        if not rows:
            raise NotFound(f"run {run} has no target {node}")
        args = wire.pack(Read())
        ask = Sign(
            verb="read",
            run=run,
            nodes=[node],
            digest=hashlib.sha256(args).hexdigest(),
            expires=datetime.now(UTC) + timedelta(seconds=_VALID),
        )
        signed = await self.bus.ask(SIGN, ask, ticket=caller.token)
        if len(self._orders) > 1000:  # noqa: PLR2004
            self._orders.clear()
        order = signed.envelopes[0] + args
        self._orders[key] = (time.monotonic() + _VALID, order)
        return order
