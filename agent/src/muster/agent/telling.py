"""Telling the scheduler of one run: its state and its output, until it has committed both.

A short command is told of in one report. The output of a longer one is followed in its files:
the next report goes out only when the last one was answered, so a slow server slows us down
and not itself, and memory stays flat however much the command writes.
"""

import asyncio
import contextlib
import logging
import random
import time
from datetime import UTC, datetime
from typing import Any, Final

from muster.agent.following import MOST, Span, Track, share
from muster.agent.hands import Hands
from muster.agent.jobs import Job
from muster.agent.journal import Ended, Entry, Journal
from muster.agent.spawning import Running
from muster.contracts.errors import Malformed, MusterError, NotFound, TooLarge, Unavailable
from muster.contracts.runs import PIECE, REPORT, Piece, Report, State, Stream
from muster.kit.bus import Bus

log = logging.getLogger(__name__)

COALESCE: Final = 0.005
"""Seconds in which a command must end to be told of in one report."""
FIRST_LOOK: Final = 0.01
SLOWEST_LOOK: Final = 0.1
CALM: Final = 0.25
"""Seconds between reports of a command that writes more than anybody can read."""
_VERY_SLOW: Final = 5.0
_LOOKS: Final = 4000
"""The longer a command runs, the rarer the looks: about so many until they take 5 s."""
_BIG_ONES: Final = 4

_MUCH: Final = 64 * 1024
_ALL: Final = 1 << 30

Plan = list[tuple[Stream, Span]]
Sizes = dict[Stream, int]


class Reporter:
    """Asks the scheduler until it answers."""

    def __init__(self, bus: Bus, node: str) -> None:
        """Report over *bus* as *node*."""
        self._bus = bus
        self._node = node
        self._pausing: set[asyncio.Event] = set()
        self._big = asyncio.Semaphore(_BIG_ONES)

    def nudge(self) -> None:
        """Try at once whatever waits: the connection is back."""
        for event in self._pausing:
            event.set()

    async def once(self, report: Report) -> bool:
        """Report, and return whether that is settled."""
        if sum(len(piece.data) for piece in report.pieces) <= PIECE:
            return await self._ask(report)
        async with self._big:  # many at once would take much memory
            return await self._ask(report)

    async def _ask(self, report: Report) -> bool:
        if not self._bus.connected:
            return False
        try:
            await self._bus.ask(REPORT, report, node=self._node, timeout=10)
        except (Malformed, NotFound, TooLarge) as error:
            log.error("the scheduler does not take the report of %s: %s", report.run, error)  # noqa: TRY400
        except MusterError as error:
            log.debug("the report of %s is not answered: %s", report.run, error)
            return False
        return True

    async def settle(self, report: Report, unless: asyncio.Future[Ended] | None = None) -> bool:
        """Report until that is settled, or *unless* is done before."""
        awake = asyncio.Event()
        wake = lambda _: awake.set()  # noqa: E731
        if unless:
            unless.add_done_callback(wake)
        self._pausing.add(awake)
        pause = 0.2
        try:
            while not await self.once(report):
                if unless and unless.done():
                    return False
                try:
                    async with asyncio.timeout(pause * random.uniform(0.5, 1.0)):  # noqa: S311
                        await awake.wait()
                except TimeoutError:
                    pause = min(pause * 2, 10.0)
                awake.clear()
        finally:
            self._pausing.discard(awake)
            if unless:
                unless.remove_done_callback(wake)
        return True


class Telling:
    """What has been told of one run."""

    def __init__(self, entry: Entry, job: Job, reporter: Reporter, journal: Journal) -> None:
        """Begin where an earlier life of the agent has ended."""
        self._entry = entry
        self._job = job
        self._reporter = reporter
        self._journal = journal
        self._began = datetime.now(UTC)
        self._tracks = {stream: Track(entry.cap // 4) for stream in Stream}
        self._unsure: Plan = []
        self._recall(job.told())

    async def follow(self, running: Running, hands: Hands) -> None:
        """Tell of a job from now to its end."""
        began = time.monotonic()
        await asyncio.wait({running.ended}, timeout=COALESCE)
        pause, first = FIRST_LOOK, True
        while not running.ended.done():
            hands.look(running)
            sizes = {stream: self._job.size(stream) for stream in Stream}
            plan = self._next(sizes)
            if plan or first:
                first = False
                await self._tell(plan, sizes, running)
                pause = self._pause_after(plan)
            else:
                slowest = max(SLOWEST_LOOK, min(_VERY_SLOW, (time.monotonic() - began) / _LOOKS))
                pause = min(pause * 1.5, slowest)
            if pause:
                await asyncio.wait({running.ended}, timeout=pause)
        await self.end(running.ended.result())

    async def end(self, ended: Ended) -> None:
        """Tell the rest of the output, and the final state with the last of it."""
        state = self._entry.state if self._entry.state.final else ended.state
        sizes = {Stream.OUT: ended.stdout, Stream.ERR: ended.stderr}
        kept = self._entry.ended is not None
        rest = self._rest(sizes)
        for begin in range(0, max(1, len(rest)), MOST):
            last = begin + MOST >= len(rest)
            plan = rest[begin : begin + MOST]
            report = self._report(state if last else State.STARTED, plan, sizes)
            if last:
                report = report.model_copy(update=_end_of(ended, self._entry))
            if await self._reporter.once(report):
                continue
            if not kept:
                kept = True
                with contextlib.suppress(Unavailable):  # `exit.json` says it as well
                    await self._journal.finish(self._entry.run, state, ended)
            await self._reporter.settle(report)
        self._journal.acknowledged(self._entry.run, state, ended)

    async def _tell(self, plan: Plan, sizes: Sizes, running: Running) -> None:
        """Tell what is new of a command that runs; it may end before the server answers."""
        if plan:
            told = {s.value: [t.at, t.told] for s, t in self._tracks.items()}
            self._job.note_told({"told": told, "sending": plan})
        if await self._reporter.settle(self._report(State.STARTED, plan, sizes), running.ended):
            self._sent(plan, sizes)
        else:
            self._unsure = plan

    def _recall(self, noted: Any) -> None:
        """Take up what `_tell` has noted; it is not known whether its last report arrived."""
        try:
            for stream, track in self._tracks.items():
                at, told = noted["told"][stream.value]
                track.at, track.told = int(at), [(int(a), int(b), int(n)) for a, b, n in told]
            self._unsure = [(Stream(s), (int(a), int(n))) for s, (a, n) in noted["sending"]]
        except (TypeError, KeyError, ValueError):
            return  # nothing was told yet

    def _next(self, sizes: Sizes) -> Plan:
        """Return what the next report tells."""
        if self._unsure:
            plan, self._unsure = self._unsure, []
            return plan
        out, err = (self._tracks[stream].plan(sizes[stream], over=False) for stream in Stream)
        out, err = share(out, err)
        return [(Stream.OUT, span) for span in out] + [(Stream.ERR, span) for span in err]

    def _rest(self, sizes: Sizes) -> Plan:
        """Return all that is still to be told of a command that is over."""
        plan, self._unsure = self._unsure, []
        self._sent(plan, sizes)
        for stream, track in self._tracks.items():
            plan += [(stream, s) for s in track.plan(sizes[stream], over=True, most=_ALL)]
        return plan

    def _sent(self, plan: Plan, sizes: Sizes) -> None:
        for stream, track in self._tracks.items():
            track.sent([span for one, span in plan if one is stream], sizes[stream])

    def _pause_after(self, plan: Plan) -> float:
        """Return how long the next report has to wait."""
        keep = self._entry.cap // 4
        behind = sum(length for _, (offset, length) in plan if offset >= keep)
        if behind >= _MUCH:
            return CALM
        return 0.0 if len(plan) >= MOST else FIRST_LOOK

    def _report(self, state: State, plan: Plan, sizes: Sizes) -> Report:
        pieces = []
        for stream in Stream:
            spans = [span for one, span in plan if one is stream]
            for (offset, _), data in zip(spans, self._job.read(stream, spans), strict=True):
                if data:
                    pieces.append(Piece(stream=stream, offset=offset, data=data))
        return Report(
            run=self._entry.run,
            command=self._entry.command,
            state=state,
            started=self._began,
            stdout=sizes[Stream.OUT],
            stderr=sizes[Stream.ERR],
            pieces=pieces,
        )


def _end_of(ended: Ended, entry: Entry) -> dict[str, Any]:
    """Return the fields of a report that only the last one has."""
    return {
        "reason": ended.reason or entry.reason,
        "exit": ended.exit,
        "signal": ended.signal,
        "started": _moment(ended.started),
        "finished": _moment(ended.finished),
    }


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
