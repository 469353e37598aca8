"""Runs on this node: taken once, started once, told to the end; found again after a restart."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from muster.agent import orders
from muster.agent.home import Home
from muster.agent.jobs import Job
from muster.agent.journal import Ended, Entry, Journal
from muster.agent.orders import Order
from muster.agent.policy import Policy
from muster.agent.settings import Settings
from muster.agent.spawning import Forge, Running
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
    policy: Policy
    journal: Journal
    forge: Forge
    reporter: Reporter
    epoch: Callable[[], int]

    def reserve(self) -> tuple[int, int]:
        """Return how many bytes are free on the disk, and how many must be."""
        disk = os.statvfs(self.home.jobs)
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        least = max(self.settings.min_free, int(total * self.settings.min_free_percent / 100))
        return free, min(least, total)

    def trouble(self) -> str:
        """Return why no command can be obeyed at the moment, or nothing."""
        if self.journal.trouble:
            return self.journal.trouble
        try:
            free, least = self.reserve()
        except OSError as error:
            return f"the agent's disk cannot be read: {error.strerror}"
        if free < least:
            return f"the disk is full: {free >> 20} MiB are free, {least >> 20} MiB must be"
        return self.policy.trouble


@dataclass(slots=True)
class Runs:
    """All runs that are not done with."""

    place: Place
    tasks: asyncio.TaskGroup
    live: dict[str, Running | None] = field(default_factory=dict)
    """Runs that somebody looks after; None until its command is started."""
    cancelled: set[str] = field(default_factory=set)
    """Live runs that a cancel is meant for."""
    taking: set[str] = field(default_factory=set)
    """Runs that are on their way into the journal."""

    async def resume(self) -> None:
        """Take up what is in the journal and nobody looks after: what an earlier life has left."""
        for entry in await self.place.journal.not_acked():
            if entry.run not in self.taking:
                self._begin(entry, None)

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
            self._begin(_refused(entry, str(error)), None)
        else:
            if known is None:
                self._begin(entry, command, envelope.run_as)
            elif known.state.final:
                self._begin(known, None)
        finally:
            self.taking.discard(order.run)

    def _judge(self, order: Order) -> tuple[Command | None, str]:
        """Return the command that is to be run, or why not."""
        try:
            orders.check(order, self.place.epoch(), datetime.now(UTC))
            command = order.command()
            self.place.policy.check(order.envelope.run_as)
        except MusterError as error:
            return None, str(error)[:1000]
        return command, self.place.trouble()

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
            self._begin(entry, None)
            return
        self._end(order.run)

    def _end(self, run: str) -> None:
        if run in self.live:
            self.cancelled.add(run)
            if running := self.live[run]:
                running.cancel()

    def _begin(self, entry: Entry, command: Command | None, run_as: str = "") -> None:
        """Look after a run from now on, unless somebody does."""
        if entry.run not in self.live:
            self.live[entry.run] = None
            self.tasks.create_task(self._guarded(entry, command, run_as), name=entry.run)

    async def _guarded(self, entry: Entry, command: Command | None, run_as: str) -> None:
        """Live one run's life; what goes wrong in it must not end the others."""
        try:
            await self._life(entry, command, run_as)
        except Exception:
            log.exception("run %s could not be looked after", entry.run)
        finally:
            self.live.pop(entry.run, None)
            self.cancelled.discard(entry.run)

    async def _life(self, entry: Entry, command: Command | None, run_as: str) -> None:
        place, job = self.place, Job.of(self.place.home, entry.run)
        if entry.ended is None and command is not None:
            entry = self._prepared(entry, job, command, run_as)
        telling = Telling(entry, job, place.reporter, place.journal)
        if entry.ended is not None:
            await telling.end(entry.ended)
            return
        running = await place.forge.spawn(job) if command else place.forge.attach(job)
        self.live[entry.run] = running
        if entry.run in self.cancelled:
            running.cancel()
        await telling.follow(running, place.forge)

    def _prepared(self, entry: Entry, job: Job, command: Command, run_as: str) -> Entry:
        """Make the job's directory; the entry that is returned is refused if that fails."""
        if entry.run in self.cancelled:
            ended = Ended(why="cancelled", finished=time.time())
            return entry.model_copy(update={"state": State.CANCELLED, "ended": ended})
        try:
            job.make(command, self.place.node, run_as, self.place.reserve()[1])
        except (OSError, MusterError) as error:
            return _refused(entry, f"the job's directory cannot be made: {error}")
        return entry


def _refused(entry: Entry, reason: str) -> Entry:
    ended = Ended(finished=time.time(), reason=reason[:1000])
    return entry.model_copy(
        update={"state": State.REFUSED, "reason": reason[:1000], "ended": ended}
    )
