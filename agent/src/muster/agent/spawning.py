"""The agent's end of the fork server: start a job, learn of its end, cancel it, find it again.

Of a job's end the agent learns from the supervisor's datagram or, whatever was lost on the way,
from the kernel (a pidfd) and ``exit.json``.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from pydantic import ValidationError

from muster.agent import tree
from muster.agent.jobs import Job
from muster.agent.journal import Ended
from muster.contracts.runs import Stream
from muster.kit.tasks import running

log = logging.getLogger(__name__)

NEVER_BEGAN: Final = "interrupted: the agent ended before the command was started"
_HOPELESS: Final = 60.0
"""Seconds after which nobody is going to begin a job that nobody has begun."""
_ROUNDS: Final = 5
"""Of killing what is left of a job: it may fork between two looks."""


class Running:
    """A job that may still be going on."""

    def __init__(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """Of the directory *job*."""
        self.job = job
        self.ended: asyncio.Future[Ended] = loop.create_future()
        self._loop = loop
        self._pidfd = -1
        self._cancelled = False
        self._begun = time.monotonic()

    @property
    def watched(self) -> bool:
        """Whether the kernel is going to tell of the supervisor's end."""
        return self._pidfd >= 0

    def look(self, boot: str) -> None:
        """Find the supervisor, or what it has left."""
        if self.ended.done() or self.watched:
            return
        if ended := self.job.ended():
            self.end(ended)
        elif started := self.job.started():
            if started.boot != boot:
                self.lose("interrupted by a reboot")
            elif not self._watch(started.pid, started.ticks):
                self._gone()
        elif time.monotonic() > self._begun + _HOPELESS:
            self.job.claim()
            self.lose("interrupted: whatever was to start it is gone")

    def _watch(self, pid: int, ticks: int) -> bool:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:  # any other error is ours, and says nothing of the job
            return False
        if tree.started(pid) != ticks:  # the handle is of somebody else
            os.close(handle)
            return False
        self._pidfd = handle
        self._loop.add_reader(handle, self._gone)
        if self._cancelled:
            self.cancel()
        return True

    def cancel(self) -> None:
        """Have the whole tree of processes killed, as soon as there is one."""
        self._cancelled = True
        if self.watched:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
        elif not self.ended.done() and self.job.claim():
            self.end(Ended(why="cancelled", finished=time.time()))

    def _gone(self) -> None:
        """Take what the supervisor has left."""
        if ended := self.job.ended():
            self.end(ended)
        else:
            self.lose("interrupted: its supervisor was killed")

    def lose(self, reason: str) -> None:
        """Give up; what may be left of its processes is killed."""
        if self.ended.done():
            return
        for _ in range(_ROUNDS):
            if not (left := tree.marked(f"MUSTER_RUN={self.job.run}")):
                break
            tree.tell(left, signal.SIGKILL)
        sizes = {stream.value: self.job.size(stream) for stream in Stream}
        self.end(Ended(why="interrupted", reason=reason, finished=time.time(), **sizes))

    def end(self, ended: Ended) -> None:
        """Note the end, once."""
        self.release()
        if not self.ended.done():
            self.ended.set_result(ended)

    def release(self) -> None:
        """Stop watching."""
        if self.watched:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


class Forge:
    """The fork server, kept alive."""

    def __init__(self, boot: str) -> None:
        """Start jobs of the kernel that is called *boot*."""
        self.boot = boot
        self._loop = asyncio.get_running_loop()
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)  # noqa: FBT003
        self._theirs.setblocking(False)  # noqa: FBT003
        self._running: dict[str, Running] = {}
        self._ordering = asyncio.Lock()

    async def spawn(self, job: Job) -> Running:
        """Start the job in a directory that is ready."""
        one = self._new(job)
        async with self._ordering:  # of two who wait for room in one socket, one would not wake
            await self._loop.sock_sendall(self._ours, os.fsencode(job.path))
        return one

    def attach(self, job: Job) -> Running:
        """Find a job of an earlier life again, or what it has left, or that it never began."""
        one = self._new(job)
        if not job.started() and not job.ended() and job.claim():
            one.lose(NEVER_BEGAN)
        one.look(self.boot)
        if not one.ended.done() and not one.watched:
            one.lose("interrupted: its supervisor ended while it began")
        return one

    def _new(self, job: Job) -> Running:
        one = self._running[job.run] = Running(job, self._loop)
        one.ended.add_done_callback(lambda _: self._running.pop(job.run, None))
        return one

    def look(self, one: Running) -> None:
        """Make sure that the end of *one* cannot be missed."""
        one.look(self.boot)

    def _hear(self) -> None:
        while True:
            try:
                data = self._ours.recv(65536)
            except OSError:
                return
            if not data:
                return
            self._take(json.loads(data))

    def _take(self, news: dict[str, Any]) -> None:
        one = self._running.get(str(news.get("run")))
        if one is None:
            return
        if news.get("told") == "ended":
            try:
                one.end(Ended.model_validate(news))
            except ValidationError:
                one.look(self.boot)
        elif news.get("told") == "broken":
            one.lose(str(news.get("reason"))[:500])
        else:
            one.look(self.boot)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator["Forge"]:
        """Keep the server running in this block; what it has started outlives the block."""
        self._loop.add_reader(self._ours, self._hear)
        try:
            async with running(self._keep_alive(), "forge"):
                yield self
        finally:
            self._loop.remove_reader(self._ours)
            self._ours.close()
            self._theirs.close()
            for one in list(self._running.values()):
                one.release()

    async def _keep_alive(self) -> None:
        while True:
            line = self._theirs.fileno()
            # -P: nothing is imported from whatever directory the agent was started in
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "muster.agent.forge",
                str(line),
                self.boot,
                pass_fds=[line],
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                raise
            log.error("the fork server ended with %s: starting it again", code)
            await asyncio.sleep(0.2)
