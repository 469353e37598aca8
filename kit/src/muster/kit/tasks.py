"""Tasks that somebody waits for: the only place where a bare task is begun."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

log = logging.getLogger(__name__)

_AGAIN: Final = 1.0


class Crew:
    """Runs jobs side by side, but only so many at once; goes home when all is done.

    nats-py awaits one callback at a time per subscription: without a crew, one slow request
    would hold up every other request on its endpoint.
    """

    def __init__(self, at_once: int) -> None:
        """Let at most *at_once* jobs run."""
        self._places = asyncio.Semaphore(at_once)
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, job: Coroutine[Any, Any, None], name: str) -> None:
        """Begin *job* as soon as there is a place."""
        await self._places.acquire()
        task = asyncio.create_task(job, name=name)  # noqa: TID251
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._places.release()
        if not task.cancelled() and (error := task.exception()):
            log.error("%s failed", task.get_name(), exc_info=error)

    async def go_home(self, grace: float) -> None:
        """Wait *grace* seconds for what has begun, then cut it off."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace)
            for task in late:
                log.warning("%s was cut off at the end", task.get_name())
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)


@asynccontextmanager
async def running(job: Coroutine[Any, Any, None], name: str) -> AsyncGenerator[asyncio.Task[None]]:
    """Run *job* beside the block; it is cancelled, and waited for, when the block ends.

    It is cancelled again each second: `asyncio.wait_for` of Python 3.11, which nats-py uses, may
    swallow a cancellation that comes together with what it waits for.
    """
    task = asyncio.create_task(job, name=name)  # noqa: TID251
    task.add_done_callback(_complain)
    try:
        yield task
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=_AGAIN)


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("%s ended", task.get_name(), exc_info=error)


async def until(stop: asyncio.Event, job: Coroutine[Any, Any, None], name: str) -> None:
    """Run *job* until *stop* is set, and raise what it raises."""
    async with running(job, name) as life, running(_set(stop), "stop") as told:
        await asyncio.wait({life, told}, return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            life.result()


async def _set(event: asyncio.Event) -> None:
    await event.wait()
