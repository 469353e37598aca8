"""Keeps every run moving: folds reports in batches, queues, expires, loses, forgets.

All writes of states go through here, one batch after another, so that events are told in the
order of their numbers.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from muster.contracts.errors import MusterError, Unavailable
from muster.contracts.names import new_id
from muster.contracts.runs import RUN_CHANGED, Command, Report, RunEvent, State
from muster.kit.bus import Bus
from muster.kit.sql import Database
from muster.scheduler import store
from muster.scheduler.dispatch import Dispatcher
from muster.scheduler.folds import Told, fold_batch
from muster.scheduler.settings import Settings

log = logging.getLogger(__name__)

_BATCH: Final = 512
_TICK: Final = 0.25


@dataclass(frozen=True, slots=True)
class _Waiting:
    told: Told
    done: asyncio.Future[None]


class Keeper:
    """The one writer of states."""

    def __init__(self, db: Database, bus: Bus, dispatcher: Dispatcher, settings: Settings) -> None:
        """Write to *db*, tell over *bus*."""
        self._db = db
        self._bus = bus
        self._dispatcher = dispatcher
        self._settings = settings
        self._told: asyncio.Queue[_Waiting] = asyncio.Queue(maxsize=20_000)
        self._order = asyncio.Lock()
        self._finished: dict[str, asyncio.Event] = {}

    async def report(self, node: str, report: Report) -> None:
        """Fold *report* of *node* in; return once it is committed."""
        done = asyncio.get_running_loop().create_future()
        await self._told.put(_Waiting(Told(node, report), done))
        await done

    async def finish(self, run: str, seconds: float) -> None:
        """Wait until *run* is over, but no longer than *seconds*."""
        event = self._finished.setdefault(run, asyncio.Event())
        if await self._db.read(lambda conn: store.is_over(conn, run)):
            self._finished.pop(run, None)
            return  # it ended before anybody waited for it
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    async def decide(self, work: Callable[[Connection], list[RunEvent]]) -> list[RunEvent]:
        """Run *work* in a transaction and tell the events that it returns."""
        async with self._order:
            events = await self._db.write(work)
            await self._tell(events)
        return events

    async def fold_forever(self) -> None:
        """Take reports in batches, one commit for many."""
        while True:
            batch = [await self._told.get()]
            while len(batch) < _BATCH and not self._told.empty():
                batch.append(self._told.get_nowait())
            await self._fold(batch)

    async def _fold(self, batch: list[_Waiting]) -> None:
        now = datetime.now(UTC)
        told = [one.told for one in batch]
        try:
            await self.decide(lambda conn: fold_batch(conn, told, now))
        except Exception as error:  # the agents are told, and try again
            log.exception("%d reports could not be kept", len(batch))
            trouble: MusterError | None = Unavailable(f"not kept: {type(error).__name__}")
        else:
            trouble = None
        for one in batch:
            self._dispatcher.confirmed((one.told.report.run, one.told.node))
            if one.done.done():
                continue
            if trouble:
                one.done.set_exception(trouble)
            else:
                one.done.set_result(None)

    async def _tell(self, events: Sequence[RunEvent]) -> None:
        for event in events:
            if event.target.state.final:
                self._dispatcher.confirmed((event.run, event.target.node))
            with contextlib.suppress(Exception):  # lossy: whoever misses it catches up
                await self._bus.tell(RUN_CHANGED, event, event.run)
            if event.finished and (waiting := self._finished.pop(event.run, None)):
                waiting.set()

    async def tick_forever(self) -> None:
        """Queue, resend, expire and lose, four times a second."""
        forgotten = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK):
                    await self._dispatcher.news.wait()
            self._dispatcher.news.clear()
            try:
                await self._tick()
                if time.monotonic() - forgotten > 3600:  # noqa: PLR2004
                    await self._forget()
                    forgotten = time.monotonic()
            except Exception:
                log.exception("the scheduler's tick failed")
                await asyncio.sleep(1)

    async def _tick(self) -> None:
        await self._dispatcher.resend()
        now = datetime.now(UTC)
        away, self._dispatcher.away = self._dispatcher.away, set()
        if away:
            await self.decide(lambda conn: queue(conn, sorted(away), now))
        for step in (self._mark_sent, self._expire):
            await step(now)

    async def _mark_sent(self, now: datetime) -> None:
        """Write down that the node may have the command: it was sent, and nobody said 503."""
        quiet = now - timedelta(seconds=_TICK)
        where = store.unmarked(quiet)

        def mark(conn: Connection) -> list[RunEvent]:
            rows = [
                row
                for row in store.open_targets(conn, where)
                if self._dispatcher.waits_for((row.run, row.node))
            ]
            return store.settle(conn, rows, State.SENT, "", now)

        if await self._any(where):
            await self.decide(mark)

    async def _expire(self, now: datetime) -> None:
        late = now - timedelta(seconds=self._settings.lost_after)
        where = store.out_of_time(now, late)

        def end(conn: Connection) -> list[RunEvent]:
            rows = store.open_targets(conn, where)
            asked = [row for row in rows if row.state == State.WAITING.value]
            unsent = [row for row in rows if row.sent is None and row not in asked]
            missing = [row for row in rows if row.sent is not None and _overdue(row, now, late)]
            return [
                *store.settle(conn, asked, State.EXPIRED, "nobody approved it in time", now),
                *store.settle(
                    conn, unsent, State.EXPIRED, "the node did not come back in time", now
                ),
                *store.settle(conn, missing, State.LOST, "the node has not answered since", now),
            ]

        if await self._any(where):
            await self.decide(end)

    async def _any(self, where: Any) -> bool:
        """Whether a target fits, without taking the writer's place."""
        return bool(await self._db.read(lambda conn: store.peek(conn, where)))

    async def _forget(self) -> None:
        before = new_id(time.time() - self._settings.keep_days * 86400)
        while await self._db.write(lambda conn: store.forget(conn, before)):
            await asyncio.sleep(0.05)


def _overdue(row: Any, now: datetime, late: datetime) -> bool:
    """Whether *row*, which its node may have, is beyond hope."""
    if row.state in {State.RECEIVED.value, State.STARTED.value}:
        timeout = Command.model_validate_json(row.args).timeout
        return bool((row.started or row.changed) + timedelta(seconds=timeout) < late)
    return bool(row.expires < late) and now > row.expires


def queue(conn: Connection, pairs: Sequence[tuple[str, str]], now: datetime) -> list[RunEvent]:
    """Write down that the nodes of *pairs* are away."""
    rows = store.lock_targets(conn, pairs).values()
    waiting = [row for row in rows if row.state in store.UNSENT]
    return store.settle(conn, waiting, State.QUEUED, "the node is away", now)
