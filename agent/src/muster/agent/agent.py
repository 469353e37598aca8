"""The agent on the bus: hears orders, answers readers, tells how the host is."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

from muster.agent import inventory, orders
from muster.agent.home import Home
from muster.agent.identity import Identity
from muster.agent.metrics import Meter
from muster.agent.noise import Noise
from muster.agent.orders import Order, open_order
from muster.agent.runs import Place, Runs
from muster.contracts.authority import RENEW, RenewJwt
from muster.contracts.base import Message
from muster.contracts.errors import Denied, MusterError, TooMany, Unavailable
from muster.contracts.nodes import HEARTBEAT, REPORT_INVENTORY, Heartbeat, Inventory
from muster.contracts.runs import SYNC, ReadAsk, Sync
from muster.kit import wire
from muster.kit.bus import Bus, Raw

log = logging.getLogger(__name__)

VERSION: Final = version("muster-agent")
_READERS: Final = 8
_MOST_READERS: Final = 64


@dataclass(slots=True)
class Self:
    """Who the agent is at the moment; a fresh JWT or a newer epoch makes it another."""

    home: Home
    identity: Identity

    def become(self, identity: Identity) -> None:
        """Take the new identity, on disk first."""
        identity.save(self.home)
        self.identity = identity

    def epoch(self) -> int:
        """Return the oldest epoch whose commands are obeyed."""
        return self.identity.epoch

    def pin(self, epoch: int) -> None:
        """Never again obey what was signed before *epoch*."""
        if epoch > self.identity.epoch:
            self.become(self.identity.model_copy(update={"epoch": epoch}))


class Agent:
    """One node on the bus."""

    def __init__(self, me: Self, bus: Bus, place: Place, tasks: asyncio.TaskGroup) -> None:
        """Live in *tasks*."""
        self.me = me
        self.bus = bus
        self.place = place
        self.tasks = tasks
        self.runs = Runs(place, tasks)
        self._node = me.identity.node
        self._noise = Noise()
        self._sync_now = asyncio.Event()
        self._readers = asyncio.Semaphore(_READERS)
        self._reading = 0
        self._seq = 0

    @asynccontextmanager
    async def living(self) -> AsyncGenerator[None]:
        """Do everything, until the block ends."""
        with suppress(Unavailable):  # then no order is obeyed either, and it is tried again below
            await self.runs.resume()
        self.bus.on_connect(self._reconnected)
        async with self.bus.hearing(f"muster.cmd.{self._node}.*", self.hear):
            for work in (self._sync, self._heartbeat, self._inventory, self._renew):
                self.tasks.create_task(work(), name=work.__name__)
            yield

    async def _reconnected(self) -> None:
        self.place.reporter.nudge()
        self._sync_now.set()

    async def hear(self, message: Raw) -> None:
        """Take a message on one of the command subjects."""
        verb = message.subject.rsplit(".", 1)[-1]
        if verb in {"read", "records"}:
            self.tasks.create_task(self._read(message), name="read")
            return
        if order := self._open(message.subject, message.data, verb):
            self.tasks.create_task(self._take(order), name="take")

    def _open(self, subject: str, blob: bytes, verb: str | None) -> Order | None:
        try:
            order = open_order(blob, self.me.identity.keys, self._node, verb)
        except Denied as error:
            self._noise.make(subject, error)
            return None
        self.me.pin(order.envelope.epoch)
        return order

    async def _take(self, order: Order) -> None:
        try:
            await self.runs.take(order)
        except Exception:
            log.exception("the order %s could not be taken", order.envelope.id)

    async def _read(self, message: Raw) -> None:
        if not message.reply.startswith("_INBOX_"):
            return
        if self._reading >= _MOST_READERS:
            await self.bus.refuse(message, TooMany("too many readers at once: try again"))
            return
        self._reading += 1
        try:
            async with self._readers:
                body = wire.pack(await self._looked(message))
            await self.bus.send(message.reply, body)
        except MusterError as error:
            await _quietly(self.bus.refuse(message, error))
        except Exception:
            log.exception("a reader could not be served")
            await _quietly(self.bus.refuse(message, MusterError("internal error")))
        finally:
            self._reading -= 1

    async def _looked(self, message: Raw) -> Message:
        if message.subject.endswith(".records"):
            return await self.place.hands.records(self._shown(message.data, "records"))
        ask = wire.unpack(ReadAsk, message.data)
        return await self.place.hands.read(ask, self._shown(ask.command, "read"))

    def _shown(self, blob: bytes, verb: str) -> Order:
        """Return the order that a reader shows, or raise why it is none."""
        try:
            order = open_order(blob, self.me.identity.keys, self._node, verb)
        except Denied as error:
            self._noise.make(verb, error)
            raise
        orders.check(order, self.me.epoch(), datetime.now(UTC))
        self.me.pin(order.envelope.epoch)
        return order

    async def _sync(self) -> None:
        """Compare notes with the scheduler: at once, after each reconnect, and now and then."""
        while True:
            self._sync_now.clear()
            try:
                await self._sync_once()
            except MusterError as error:
                log.debug("no sync: %s", error)
                await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311
                if not self.bus.connected:
                    continue
                self._sync_now.set()
            try:
                async with asyncio.timeout(self.place.settings.sync * random.uniform(0.8, 1.2)):  # noqa: S311
                    await self._sync_now.wait()
            except TimeoutError:
                continue

    async def _sync_once(self) -> None:
        await self.runs.resume()
        seen: set[str] = set()
        while True:
            ask = Sync(known=await self.place.journal.known())
            answer = await self.bus.ask(SYNC, ask, node=self._node, timeout=15)
            opened = [self._open("sync", blob, None) for blob in answer.commands]
            fresh = [order for order in opened if order and order.envelope.id not in seen]
            async with asyncio.TaskGroup() as group:
                for order in fresh:
                    group.create_task(self._take(order))
            seen |= {order.envelope.id for order in fresh}
            if not answer.more or not fresh:  # a server that repeats itself is not asked for ever
                return

    async def _heartbeat(self) -> None:
        """Tell every few seconds, each node at a moment of its own, how the host is."""
        meter = Meter()
        pause = self.place.settings.heartbeat
        await asyncio.sleep(min(0.5, pause) * random.random())  # noqa: S311
        await self._beat(meter)
        await asyncio.sleep(pause * random.random())  # noqa: S311
        while True:
            await self._beat(meter)
            await asyncio.sleep(pause)

    async def _beat(self, meter: Meter) -> None:
        try:
            fact = Heartbeat(
                at=datetime.now(UTC),
                seq=self._seq,
                version=VERSION,
                boot=self.place.boot,
                trouble=self.place.trouble()[:1000],
                metrics=meter.read(),
            )
            if self.bus.connected:
                await self.bus.tell(HEARTBEAT, fact, self._node)
            self._seq += 1
        except MusterError as error:
            log.debug("no heartbeat: %s", error)
        except Exception:
            log.exception("no heartbeat")

    async def _inventory(self) -> None:
        """Tell what the host is, at start and when it has changed."""
        told: Inventory | None = None
        while True:
            pause = self.place.settings.inventory
            try:
                allowed = await self.place.hands.allowed()
                taken = await asyncio.to_thread(inventory.take, VERSION, allowed)
                if taken != told:
                    await self.bus.ask(REPORT_INVENTORY, taken, node=self._node, timeout=10)
                    told = taken
            except MusterError as error:
                log.debug("no inventory: %s", error)
                pause = random.uniform(1, 5)  # noqa: S311
            except Exception:
                log.exception("no inventory")
            await asyncio.sleep(pause)

    async def _renew(self) -> None:
        """Fetch a fresh JWT in time, and hear each day which keys may sign and which CA is new.

        The JWT and the CA are used from the next connection on, the keys at once. Another CA is
        told of soon: the server waits for it.
        """
        often = self.place.settings.renew
        pause = min(60.0, often) * random.random()  # noqa: S311
        while True:
            due = self.me.identity.renew_in(time.time())
            await asyncio.sleep(pause if due is None else min(due, pause))
            try:
                ours = self.me.identity.authority_keys
                ask = RenewJwt(ca=self.me.identity.newest_ca)
                news = await self.bus.ask(RENEW, ask, node=self._node, timeout=10)
                fresh = self.me.identity.renewed(news)
                if set(news.authority_keys) - set(fresh.authority_keys):
                    log.warning(
                        "the server has other keys, and none that is pinned vouches for them"
                    )
                told = fresh.newest_ca == ask.ca
                pause = min(60.0, often)  # until the helper has heard of the keys: not before it
                self.me.become(fresh.model_copy(update={"authority_keys": ours}))
                await self.place.hands.learn(news.notices)
                self.me.become(fresh)
                pause = often * random.uniform(0.9, 1.0) if told else 0.0  # noqa: S311
            except (MusterError, OSError) as error:
                log.warning("the credentials could not be renewed: %s", error)
            # also after a success: by a clock that runs ahead the next one is due at once
            await asyncio.sleep(min(random.uniform(20, 60), often))  # noqa: S311


async def _quietly(work: Awaitable[None]) -> None:
    try:
        await work
    except MusterError as error:
        log.debug("a reader got no answer: %s", error)
