"""Who carries orders out: this very process, or a privileged helper beside it.

The agent on the bus only knows `Hands`. `OwnHands` do it here, as the user that the agent is;
`muster.agent.privileged` has those of an agent without rights, which ask a helper that has them.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from muster.agent import reading
from muster.agent.home import Home, boot_id
from muster.agent.janitor import sweep
from muster.agent.jobs import Job
from muster.agent.journal import Journal
from muster.agent.orders import Order
from muster.agent.policy import Policy, own_name
from muster.agent.settings import Settings
from muster.agent.spawning import Forge, Running
from muster.contracts.allowed import Allowed
from muster.contracts.authority import KeyNotice
from muster.contracts.errors import NotFound, Unavailable
from muster.contracts.records import NodeRecords, ReadRecords
from muster.contracts.runs import Command, FilePart, ReadAsk, ResultFiles
from muster.kit import wire


class Hands(Protocol):
    """What the agent needs of whoever carries orders out."""

    def job(self, run: str) -> Job:
        """Return the directory of *run*, which may not be there."""

    def judge(self, order: Order) -> None:
        """Raise `MusterError` if it is known already that *order* is going to be refused."""

    def trouble(self) -> str:
        """Return why no command can be obeyed at the moment, or nothing."""

    async def start(self, order: Order, command: Command) -> Running:
        """Start a command once; raise `MusterError` or `OSError` if it was not started."""

    async def attach(self, run: str) -> Running:
        """Find a run of an earlier life again, or what it has left, or that it never began."""

    def look(self, running: Running) -> None:
        """Make sure that the end of *running* cannot be missed."""

    async def cancel(self, running: Running | None, order: Order) -> None:
        """End a run and all of its processes, because *order* says so; None: it never begins."""

    async def read(self, ask: ReadAsk, order: Order) -> ResultFiles | FilePart:
        """Return what a reader may see, who shows *order*."""

    async def records(self, order: Order) -> NodeRecords:
        """Return the node's record of what it took, as *order* asks."""

    async def learn(self, notices: Sequence[KeyNotice]) -> None:
        """Hear which keys may sign from now on."""

    async def allowed(self) -> Allowed:
        """Return what the local policy allows."""

    async def sweep(self, keep: frozenset[str]) -> int:
        """Take old files away, but none of the runs *keep*; return of how many runs."""


@dataclass(frozen=True, slots=True)
class OwnHands:
    """Carry orders out here, as the user that this process is (root can be anybody)."""

    node: str
    home: Home
    settings: Settings
    policy: Policy
    journal: Journal
    forge: Forge
    readers: int = -1
    """A group whose processes may read outputs, besides the owner; -1: none."""

    def job(self, run: str) -> Job:
        """Return the directory of *run*."""
        return Job.of(self.home, run)

    def judge(self, order: Order) -> None:
        """Raise `Denied` if the local policy forbids it, `Unavailable` if there is no room."""
        self.policy.user(order.envelope.run_as)
        if trouble := self.trouble():
            raise Unavailable(trouble)

    def trouble(self) -> str:
        """Return what is wrong with the disk or the policy."""
        try:
            free, least = self._reserve()
        except OSError as error:
            return f"the agent's disk cannot be read: {error.strerror}"
        if free < least:
            return f"the disk is full: {free >> 20} MiB are free, {least >> 20} MiB must be"
        return self.policy.trouble

    def _reserve(self) -> tuple[int, int]:
        """Return how many bytes are free on the disk, and how many must be."""
        disk = os.statvfs(self.home.jobs)
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        least = max(self.settings.min_free, int(total * self.settings.min_free_percent / 100))
        return free, min(least, total)

    async def start(self, order: Order, command: Command) -> Running:
        """Make the job's directory and start the command in it."""
        job = self.job(order.run)
        user = self.policy.user(order.envelope.run_as)
        if self.readers >= 0 or user != own_name():
            self.home.open_ways()
        job.make(command, self.node, user, reserve=self._reserve()[1], readers=self.readers)
        return await self.forge.spawn(job)

    async def attach(self, run: str) -> Running:
        """Look in the job's directory, and among the living processes."""
        return self.forge.attach(self.job(run))

    def look(self, running: Running) -> None:
        """Watch its supervisor."""
        self.forge.look(running)

    async def cancel(self, running: Running | None, order: Order) -> None:
        """Tell its supervisor; that it never begins is in the journal already."""
        del order
        if running:
            running.cancel()

    async def read(self, ask: ReadAsk, order: Order) -> ResultFiles | FilePart:
        """Look into the run's directory."""
        job = self.job(order.run)
        if not job.path.is_dir():
            raise NotFound("the node has no files of this run (any more)")
        return await asyncio.to_thread(reading.answer, job, ask)

    async def records(self, order: Order) -> NodeRecords:
        """Look into the journal."""
        return await self.journal.records(wire.unpack(ReadRecords, order.args).after)

    async def learn(self, notices: Sequence[KeyNotice]) -> None:
        """Do nothing: who has the keys is this process."""

    async def allowed(self) -> Allowed:
        """Return what the policy says."""
        return self.policy.shown(helper=False)

    async def sweep(self, keep: frozenset[str]) -> int:
        """Sweep the directories of jobs."""
        return await asyncio.to_thread(sweep, self.home, self.settings, keep)


@contextlib.asynccontextmanager
async def own_hands(
    node: str, home: Home, settings: Settings, journal: Journal, readers: int = -1
) -> AsyncGenerator[OwnHands]:
    """Have hands as long as the block lasts; what they have started outlives it."""
    async with Forge(boot_id()).open() as forge:
        yield OwnHands(node, home, settings, Policy.of(home), journal, forge, readers)
