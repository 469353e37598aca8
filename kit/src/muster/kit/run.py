"""The life of a process: signals, an orderly end within a few seconds, an exit code.

`run` is the outermost line of every program; `supervise` keeps a part of one alive.
"""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Final

from muster.contracts.errors import MusterError
from muster.kit.logs import speaking_as
from muster.kit.settings import BadSettingsError
from muster.kit.tasks import running

log = logging.getLogger(__name__)

GRACE: Final = 5.0
"""Seconds between the first signal and the end."""

_LAST: Final = 2.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Main = Callable[[asyncio.Event], Awaitable[None]]


def run(
    main: Main,
    *,
    grace: float = GRACE,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> int:
    """Run *main* until it ends by itself or a signal tells it to; return the exit code.

    A signal sets the event that *main* gets. If *main* has not ended *grace* seconds later, or at
    the second signal, it is cancelled and the code is 1; what does not even heed that is killed.
    *loop_factory* may be ``uvloop.new_event_loop`` where no processes are spawned.
    """
    life = _Life(main, grace)
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(life.live())
    finally:
        life.executioner.cancel()
    return life.code


class _Life:
    def __init__(self, main: Main, grace: float) -> None:
        self._main, self._grace = main, grace
        self._stop, self._force = asyncio.Event(), asyncio.Event()
        self.code = 0
        # threads that hang keep a process alive too: this ends them
        self.executioner = threading.Timer(grace + _LAST, os._exit, [1])
        self.executioner.daemon = True

    async def live(self) -> None:
        loop = asyncio.get_running_loop()
        heard = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
        for number in heard:
            loop.add_signal_handler(number, self._told, number)
        try:
            async with (
                running(self._guarded(), "main") as main,
                running(self._hurry(main), "end of main"),
            ):
                await asyncio.wait({main})
        finally:
            for number in heard:
                loop.remove_signal_handler(number)

    def _told(self, number: int) -> None:
        log.info("%s: ending", signal.Signals(number).name)
        if self._stop.is_set():
            self._force.set()
        else:
            self._stop.set()
            self.executioner.start()

    async def _guarded(self) -> None:
        try:
            await self._main(self._stop)
        except (MusterError, BadSettingsError) as error:
            log.error("%s", error)  # noqa: TRY400 (expected: its text says what to do)
            self.code = 1
        except Exception:
            log.exception("it failed")
            self.code = 1

    async def _hurry(self, main: asyncio.Task[None]) -> None:
        await self._stop.wait()
        if not await _within(self._grace, self._force):
            log.error("it did not end within %g s: cut off", self._grace)
        self.code = 1
        main.cancel()


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Return whether *event* was set in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def supervise(
    name: str,
    work: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    *,
    pauses: tuple[float, float] = (0.2, 30.0),
    healthy: float = 60.0,
) -> None:
    """Run *work* again whenever it ends, until *stop* is set; *work* must heed *stop* itself.

    The pause doubles from the first to the second of *pauses*, and is short again after a life
    of *healthy* seconds. Everything logged inside carries *name*.
    """
    loop = asyncio.get_running_loop()
    pause = pauses[0]
    with speaking_as(name):
        while not stop.is_set():
            began = loop.time()
            error = await _one_life(work)
            if stop.is_set() and error is None:
                return
            if loop.time() - began >= healthy:
                pause = pauses[0]
            _tell(name, error, pause)
            await _within(pause, stop)
            pause = min(pause * 2, pauses[1])


async def _one_life(work: Callable[[], Awaitable[None]]) -> BaseException | None:
    try:
        await work()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error  # not meant for us: something that work waited for was cancelled
    except Exception as error:  # noqa: BLE001 (told by the caller)
        return error
    return None


def _tell(name: str, error: BaseException | None, pause: float) -> None:
    if error is None:
        log.error("%s ended by itself; again in %.1f s", name, pause)
    elif isinstance(error, (MusterError, ChildProcessError)):
        log.error("%s stopped: %s; again in %.1f s", name, error, pause)
    else:
        log.error("%s crashed; again in %.1f s", name, pause, exc_info=error)
