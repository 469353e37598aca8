"""The helper: carries out what the authority has signed, whoever brings it, and each thing once."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from muster.agent.hands import OwnHands
from muster.agent.journal import Ended, Entry, Journal
from muster.agent.orders import Order
from muster.agent.privileged.messages import Answer, Ask
from muster.agent.privileged.trust import Trust
from muster.agent.spawning import NEVER_BEGAN, Running
from muster.contracts.errors import Conflict, Malformed, MusterError, Unavailable
from muster.contracts.runs import Command, FilePart, State

log = logging.getLogger(__name__)

_SLOWEST: Final = 5.0


@dataclass(slots=True)
class Live:
    """A run that is going on."""

    ended: asyncio.Future[Ended]
    running: Running | None = None
    """None until it is started."""
    cancel: Order | None = None
    """What says that it is to be ended."""


@dataclass(slots=True)
class Helper:
    """Answers what the part on the network asks."""

    trust: Trust
    hands: OwnHands
    journal: Journal
    tasks: asyncio.TaskGroup
    live: dict[str, Live] = field(default_factory=dict)

    async def resume(self) -> None:
        """Take up what an earlier life has left."""
        for entry in await self.journal.not_acked():
            try:
                await self._found(entry.run)
            except Exception:  # one that is broken must not take the others with it
                log.exception("%s cannot be taken up", entry.run)

    async def _found(self, run: str) -> Live:
        """Take up a run of an earlier life, unless somebody has."""
        if live := self.live.get(run):
            return live
        live = self._new(run)
        try:
            self._follow(run, live, await self.hands.attach(run))
        except BaseException:
            self.live.pop(run, None)
            raise
        return live

    async def answer(self, ask: Ask) -> Answer:
        """Do what is asked, or say why not."""
        table: dict[str, Callable[[Ask], Awaitable[Answer]]] = {
            "start": self._start,
            "wait": self._wait,
            "cancel": self._cancel,
            "read": self._read,
            "records": self._records,
            "learn": self._learn,
            "allowed": self._allowed,
            "sweep": self._sweep,
        }
        try:
            return await table[ask.do](ask)
        except MusterError as error:
            return Answer(number=ask.number, error=error.code, text=str(error)[:1000])
        except OSError as error:
            return Answer(number=ask.number, error=Unavailable.code, text=str(error)[:1000])
        except Exception:
            log.exception("%s could not be answered", ask.do)
            return Answer(number=ask.number, error=MusterError.code, text="internal error")

    async def _start(self, ask: Ask) -> Answer:
        order = self.trust.order(ask.order, "run")
        command = order.command()
        self.hands.judge(order)
        if order.run in self.live:
            raise Conflict("this run is going on already")
        entry = Entry(
            run=order.run,
            command=order.envelope.id,
            state=State.STARTED,
            boot=self.hands.forge.boot,
            cap=command.output_cap,
            expires=order.envelope.expires.timestamp(),
        )
        live = self._new(order.run)
        try:
            running = await self._started(entry, order, command)
        except BaseException as error:
            self.live.pop(order.run, None)
            reason = str(error)[:1000]
            live.ended.set_result(Ended(why="refused", reason=reason, finished=time.time()))
            raise
        self._follow(order.run, live, running)
        return Answer(number=ask.number)

    async def _started(self, entry: Entry, order: Order, command: Command) -> Running:
        """Write it down, then start it; what is written down is never started again."""
        if await self.journal.begin(entry):
            raise Conflict("this run was carried out before: nothing is executed twice")
        try:
            return await self.hands.start(order, command)
        except (OSError, MusterError) as error:
            ended = Ended(why="refused", finished=time.time(), reason=str(error)[:1000])
            # for the helper, what is over is done with
            self.journal.acknowledged(entry.run, State.REFUSED, ended)
            raise

    async def _wait(self, ask: Ask) -> Answer:
        if ask.run is None:
            raise Malformed("wait for which run?")
        live = self.live.get(ask.run)
        if live is None:
            entry = await self.journal.get(ask.run)
            if entry is None or entry.ended:
                never = Ended(why="interrupted", reason=NEVER_BEGAN, finished=time.time())
                return Answer(number=ask.number, ended=entry.ended if entry else never)
            live = await self._found(ask.run)
        return Answer(number=ask.number, ended=await asyncio.shield(live.ended))

    async def _cancel(self, ask: Ask) -> Answer:
        """End a run, also one that has not arrived yet: it is never going to be started."""
        order = self.trust.order(ask.order, "cancel")
        now = time.time()
        known = self.live.get(order.run) or await self.journal.begin(
            Entry(
                run=order.run,
                command=order.envelope.id,
                state=State.CANCELLED,
                boot=self.hands.forge.boot,
                expires=order.envelope.expires.timestamp(),
                ended=Ended(why="cancelled", reason="cancelled before", finished=now),
                acked=True,
            )
        )
        if known is None or (isinstance(known, Entry) and known.ended):
            return Answer(number=ask.number)
        live = await self._found(order.run)
        live.cancel = order
        if live.running:
            await self.hands.cancel(live.running, order)
        return Answer(number=ask.number)

    async def _read(self, ask: Ask) -> Answer:
        if ask.read is None:
            raise Malformed("read what?")
        found = await self.hands.read(ask.read, self.trust.order(ask.read.command, "read"))
        if isinstance(found, FilePart):
            return Answer(number=ask.number, part=found)
        return Answer(number=ask.number, files=found)

    async def _records(self, ask: Ask) -> Answer:
        found = await self.hands.records(self.trust.order(ask.order, "records"))
        return Answer(number=ask.number, records=found)

    async def _learn(self, ask: Ask) -> Answer:
        self.trust.learn(ask.notices)
        return Answer(number=ask.number)

    async def _allowed(self, ask: Ask) -> Answer:
        allowed = self.hands.policy.shown(helper=True)
        trouble = self.journal.trouble or self.hands.trouble()
        return Answer(number=ask.number, allowed=allowed, trouble=trouble[:1000])

    async def _sweep(self, ask: Ask) -> Answer:
        count = await self.hands.sweep(frozenset(ask.keep) | frozenset(self.live))
        return Answer(number=ask.number, count=count + await self.journal.forget())

    def _new(self, run: str) -> Live:
        live = self.live[run] = Live(asyncio.get_running_loop().create_future())
        return live

    def _follow(self, run: str, live: Live, running: Running) -> None:
        live.running = running
        self.tasks.create_task(self._to_the_end(run, live, running), name=run)

    async def _to_the_end(self, run: str, live: Live, running: Running) -> None:
        """Look after a run; its supervisor tells of its end, but what it tells may be lost."""
        if live.cancel:
            await self.hands.cancel(running, live.cancel)
        pause = 0.05
        while not running.ended.done():
            try:
                self.hands.look(running)
            except Exception:
                log.exception("%s cannot be looked at", run)
            await asyncio.wait({running.ended}, timeout=pause)
            pause = min(pause * 2, _SLOWEST)
        ended = running.ended.result()
        self.journal.acknowledged(run, ended.state, ended)  # for us, what is over is done with
        self.live.pop(run, None)
        live.ended.set_result(ended)
