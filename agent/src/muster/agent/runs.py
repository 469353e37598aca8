"""Runs on this node: taken once, started once, told to the end; found again after a restart."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from muster.agent import orders
from muster.agent.hands import Hands
from muster.agent.home import Home
from muster.agent.journal import Ended, Entry, Journal
from muster.agent.orders import Order
from muster.agent.settings import Settings
from muster.agent.spawning import Running
from muster.agent.telling import Reporter, Telling
from muster.contracts.errors import MusterError, Unavailable
from muster.contracts.runs import Command, State

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """What a run needs of the agent."""

    node: str
    boot: str
    home: Home
    settings: Settings
    hands: Hands
    journal: Journal
    reporter: Reporter
    epoch: Callable[[], int]

    def trouble(self) -> str:
        """Return why no command can be obeyed at the moment, or nothing."""
        return self.journal.trouble or self.hands.trouble()


@dataclass(slots=True)
class Runs:
    """All runs that are not done with."""

    place: Place
    tasks: asyncio.TaskGroup
    live: dict[str, Running | None] = field(default_factory=dict)
    """Runs that somebody looks after; None until its command is started."""
    cancelled: dict[str, Order] = field(default_factory=dict)
    """Live runs that a cancel is meant for, and the order that says so."""
    taking: set[str] = field(default_factory=set)
    """Runs that are on their way into the journal."""

    async def resume(self) -> None:
        """Take up what is in the journal and nobody looks after: what an earlier life has left."""
        for entry in await self.place.journal.not_acked():
            if entry.run not in self.taking:
                self._begin(entry)

    async def take(self, order: Order) -> None:
        """Obey an order; returns as soon as it is in the journal."""
        if order.envelope.verb == "cancel":
            await self._cancel(order)
        elif order.envelope.verb == "run":
            await self._run(order)

    async def _run(self, order: Order) -> None:
        command, reason = self._judge(order)
        envelope = order.envelope
        entry = Entry(
            run=order.run,
            command=envelope.id,
            state=State.REFUSED if reason else State.STARTED,
            reason=reason,
            boot=self.place.boot,
            cap=command.output_cap if command else 0,
            expires=envelope.expires.timestamp(),
            ended=Ended(finished=time.time()) if reason else None,
        )
        self.taking.add(order.run)
        try:
            known = await self.place.journal.begin(entry)
        except Unavailable as error:
            self._begin(_refused(entry, str(error)))
        else:
            if known is None:
                self._begin(entry, command, order)
            elif known.state.final:
                self._begin(known)
        finally:
            self.taking.discard(order.run)

    def _judge(self, order: Order) -> tuple[Command | None, str]:
        """Return the command that is to be run, or why not."""
        try:
            orders.check(order, self.place.epoch(), datetime.now(UTC))
            command = order.command()
            self.place.hands.judge(order)
        except MusterError as error:
            return None, str(error)[:1000]
        return command, self.place.journal.trouble

    async def _cancel(self, order: Order) -> None:
        """End a run, also one that has not arrived yet: it is never going to be started."""
        try:
            orders.check(order, self.place.epoch(), datetime.now(UTC))
        except MusterError as error:
            log.warning("the cancel of %s is refused: %s", order.run, error)
            return
        entry = Entry(
            run=order.run,
            command=order.envelope.id,
            state=State.CANCELLED,
            reason="cancelled before it was started",
            boot=self.place.boot,
            expires=order.envelope.expires.timestamp(),
            ended=Ended(why="cancelled", finished=time.time()),
        )
        try:
            known = await self.place.journal.begin(entry)
        except Unavailable:
            log.exception("the cancel of %s cannot be written down", order.run)
            known = entry
        if known is None:
            self._begin(entry)
            await self.place.hands.cancel(None, order)
            return
        if order.run in self.live:
            self.cancelled[order.run] = order
            if running := self.live[order.run]:
                await self.place.hands.cancel(running, order)

    def _begin(
        self, entry: Entry, command: Command | None = None, order: Order | None = None
    ) -> None:
        """Look after a run from now on, unless somebody does; *order* has it started."""
        if entry.run not in self.live:
            self.live[entry.run] = None
            self.tasks.create_task(self._guarded(entry, command, order), name=entry.run)

    async def _guarded(self, entry: Entry, command: Command | None, order: Order | None) -> None:
        """Live one run's life; what goes wrong in it must not end the others."""
        try:
            await self._life(entry, command, order)
        except Exception:
            log.exception("run %s could not be looked after", entry.run)
        finally:
            self.live.pop(entry.run, None)
            self.cancelled.pop(entry.run, None)

    async def _life(self, entry: Entry, command: Command | None, order: Order | None) -> None:
        hands = self.place.hands
        if entry.ended is None and entry.run in self.cancelled and command:
            ended = Ended(why="cancelled", finished=time.time())
            entry = entry.model_copy(update={"state": State.CANCELLED, "ended": ended})
        if entry.ended is None and command and order:
            held = await self._started(entry, command, order)
        else:
            held = entry if entry.ended else await hands.attach(entry.run)
        job = hands.job(entry.run)
        if isinstance(held, Entry):
            telling = Telling(held, job, self.place.reporter, self.place.journal)
            await telling.end(held.ended or Ended(finished=time.time()))
            return
        running = held
        telling = Telling(entry, job, self.place.reporter, self.place.journal)
        self.live[entry.run] = running
        if cancel := self.cancelled.get(entry.run):
            await hands.cancel(running, cancel)
        await telling.follow(running, hands)

    async def _started(self, entry: Entry, command: Command, order: Order) -> Running | Entry:
        """Start the command, or write down why that was refused."""
        try:
            return await self.place.hands.start(order, command)
        except OSError as error:
            refused = _refused(entry, f"the job's directory cannot be made: {error}")
        except MusterError as error:
            refused = _refused(entry, str(error))
        if refused.ended:
            with suppress(Unavailable):  # then it is told now, or found again as never begun
                await self.place.journal.finish(entry.run, State.REFUSED, refused.ended)
        return refused


def _refused(entry: Entry, reason: str) -> Entry:
    ended = Ended(finished=time.time(), reason=reason[:1000])
    return entry.model_copy(
        update={"state": State.REFUSED, "reason": reason[:1000], "ended": ended}
    )
