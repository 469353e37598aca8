"""The hands of the part on the network: it asks the helper, and waits for its answers."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from muster.agent.hands import Hands
from muster.agent.home import Home
from muster.agent.janitor import sweep
from muster.agent.jobs import Job
from muster.agent.journal import Ended
from muster.agent.orders import Order
from muster.agent.privileged.messages import Answer, Ask, framed, next_frame
from muster.agent.settings import Settings
from muster.agent.spawning import Running
from muster.contracts.allowed import Allowed
from muster.contracts.authority import KeyNotice
from muster.contracts.errors import BY_CODE, Conflict, MusterError, Unavailable
from muster.contracts.records import NodeRecords
from muster.contracts.runs import Command, FilePart, ReadAsk, ResultFiles
from muster.kit import wire
from muster.kit.tasks import running

log = logging.getLogger(__name__)

_PATIENCE: Final = 10.0
"""Seconds that an order waits for a helper that is being started again."""
_AGAIN: Final = 0.2
_LOOK: Final = 5.0
_SLOWEST: Final = 30.0
"""Seconds for an answer, but for those that wait for the end of a command."""
_KEPT: Final = 100_000


class _LostError(Unavailable):
    """The helper went away, and may have done what it was asked to do."""


class HelperHands:
    """Have orders carried out by the helper whose directory is *helper*."""

    def __init__(self, helper: Home, home: Home, settings: Settings) -> None:
        """Keep notes in *home*."""
        self._helper = helper
        self._home = home
        self._settings = settings
        self._trouble = "the privileged helper does not answer"
        self._writer: asyncio.StreamWriter | None = None
        self._up = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._number = 0
        self._tasks: asyncio.TaskGroup | None = None

    async def live(self) -> None:
        """Stay connected, and look after what waits for the helper."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._look(), name="look")
            while True:
                try:
                    await self._connected()
                except (OSError, EOFError, MusterError) as error:
                    self._lose(str(error) or "it ended")
                except Exception as error:  # the agent must not go on without hands
                    log.exception("the helper cannot be heard")
                    self._lose(str(error))
                await asyncio.sleep(_AGAIN)

    async def _connected(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(self._helper.socket)
        self._trouble = ""
        self._up.set()
        try:
            while True:
                answer = wire.unpack(Answer, await next_frame(reader))
                waiting = self._waiting.pop(answer.number, None)
                if waiting and not waiting.done():
                    waiting.set_result(answer)
        finally:
            self._up.clear()
            self._writer.close()

    def _lose(self, why: str) -> None:
        self._trouble = f"the privileged helper does not answer: {why}"
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            if not one.done():
                one.set_exception(_LostError(self._trouble))

    async def _look(self) -> None:
        """Know whether the helper is in trouble, for heartbeats."""
        while True:
            with contextlib.suppress(MusterError):
                self._trouble = (await self._ask(do="allowed")).trouble
            await asyncio.sleep(_LOOK)

    async def _ask(self, **fields: Any) -> Answer:
        """Return the helper's answer, or raise what it refuses with."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._up.wait()
        except TimeoutError:
            raise Unavailable(self._trouble) from None
        self._number += 1
        number = self._number
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            if self._writer is None or self._writer.is_closing():
                raise Unavailable(self._trouble)
            self._writer.write(framed(Ask(number=number, **fields)))
            async with asyncio.timeout(None if fields["do"] == "wait" else _SLOWEST):
                answer: Answer = await future
        except TimeoutError:
            self._trouble = "the privileged helper does not answer: it is stuck"
            raise _LostError(self._trouble) from None
        finally:
            self._waiting.pop(number, None)
        if answer.error:
            raise BY_CODE.get(answer.error, MusterError)(answer.text)
        return answer

    def job(self, run: str) -> Job:
        """Return the helper's directory of *run*, of which we may read the outputs."""
        return Job.of(self._helper, run, self._home)

    def judge(self, order: Order) -> None:
        """Leave that to the helper."""

    def trouble(self) -> str:
        """Return what the helper has said last."""
        return self._trouble

    async def start(self, order: Order, command: Command) -> Running:
        """Hand the order over; the helper verifies it again."""
        del command
        with contextlib.suppress(
            _LostError, Conflict
        ):  # it may live, or be over: its end will tell
            await self._ask(do="start", order=order.blob)
        return await self.attach(order.run)

    async def attach(self, run: str) -> Running:
        """Wait for the end that the helper will tell."""
        one = Running(self.job(run), asyncio.get_running_loop())
        assert self._tasks is not None  # noqa: S101  # `live` was begun before anything is ordered
        self._tasks.create_task(self._to_the_end(run, one), name=run)
        return one

    async def _to_the_end(self, run: str, one: Running) -> None:
        while not one.ended.done():
            try:
                answer = await self._ask(do="wait", run=run)
            except MusterError as error:  # it is being started again, and finds its commands
                log.debug("%s: %s", run, error)
                await asyncio.sleep(_AGAIN)
            else:
                one.end(answer.ended or Ended(why="interrupted", finished=time.time()))

    def look(self, running: Running) -> None:
        """Do nothing: the helper watches."""

    async def cancel(self, running: Running | None, order: Order) -> None:
        """Hand the order over, again and again until the helper has it."""
        assert self._tasks is not None  # noqa: S101  # as above
        self._tasks.create_task(self._cancel(running, order), name="cancel")

    async def _cancel(self, running: Running | None, order: Order) -> None:
        while running is None or not running.ended.done():
            try:
                await self._ask(do="cancel", order=order.blob)
            except Unavailable:
                await asyncio.sleep(_AGAIN)
                continue
            except MusterError as error:
                log.warning("the cancel of %s is refused: %s", order.run, error)
            return

    async def read(self, ask: ReadAsk, order: Order) -> ResultFiles | FilePart:
        """Let the helper look, to which all files are open."""
        del order
        answer = await self._ask(do="read", read=ask)
        found = answer.files or answer.part
        if found is None:
            raise Unavailable("the helper has not answered what was asked")
        return found

    async def records(self, order: Order) -> NodeRecords:
        """Show the helper's record: it is the one that counts."""
        found = (await self._ask(do="records", order=order.blob)).records
        if found is None:
            raise Unavailable("the helper has not answered what was asked")
        return found

    async def learn(self, notices: Sequence[KeyNotice]) -> None:
        """Pass them on."""
        await self._ask(do="learn", notices=list(notices))

    async def allowed(self) -> Allowed:
        """Return what the helper's policy says."""
        return (await self._ask(do="allowed")).allowed or Allowed(run=False, helper=True)

    async def sweep(self, keep: frozenset[str]) -> int:
        """Sweep our notes, and let the helper sweep its directories."""
        await asyncio.to_thread(sweep, self._home, self._settings, keep)
        return (await self._ask(do="sweep", keep=sorted(keep)[:_KEPT])).count


@contextlib.asynccontextmanager
async def helper_hands(helper: Home, home: Home, settings: Settings) -> AsyncGenerator[Hands]:
    """Have hands as long as the block lasts."""
    hands = HelperHands(helper, home, settings)
    async with running(hands.live(), "helper"):
        yield hands
