"""A stage for one real agent: a scheduler of a few lines, and the agent's process."""

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from muster.agent import tree
from muster.agent.home import Home
from muster.agent.identity import Identity
from muster.agent.policy import allowing, own_name
from muster.contracts.authority import RENEW, Renewed, RenewJwt
from muster.contracts.base import NOTHING, Message, Nothing
from muster.contracts.errors import Unavailable
from muster.contracts.names import new_id
from muster.contracts.nodes import HEARTBEAT, REPORT_INVENTORY, Heartbeat, Inventory
from muster.contracts.runs import (
    REPORT,
    SYNC,
    Cancel,
    Command,
    Envelope,
    FilePart,
    Read,
    ReadAsk,
    Report,
    ResultFiles,
    State,
    Stream,
    Sync,
    SyncAnswer,
)
from muster.kit import wire
from muster.kit.bus import Bus, Caller, answers
from muster.kit.identity import envelope as signed
from muster.kit.identity import natsjwt
from muster.kit.identity.nkeys import Key
from muster.kit.testing import Broker
from muster.scheduler.folding import believable, in_head, too_much

PAST = datetime.now(UTC) - timedelta(seconds=1)
PATIENCE = 30.0
"""Seconds that a test waits for what should happen at once."""


async def until(true: Callable[[], Any], what: str = "it", seconds: float = PATIENCE) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} does not happen")
        await asyncio.sleep(0.01)


def shell(text: str, **other: Any) -> Command:
    """Return a command for the shell."""
    return Command.model_validate({"shell": text, **other})


class Told:
    """What the scheduler has been told of one run, kept as the real one keeps it."""

    def __init__(self, cap: int) -> None:
        """Keep at most *cap* bytes of output."""
        self.cap = cap
        self.reports: list[Report] = []
        self.rows: dict[Stream, dict[int, bytes]] = {stream: {} for stream in Stream}

    @property
    def last(self) -> Report:
        """The newest report."""
        return self.reports[-1]

    @property
    def over(self) -> bool:
        """Whether nothing can follow."""
        return bool(self.reports) and self.last.state.final

    def take(self, report: Report) -> None:
        """Keep a report and its pieces."""
        over = self.over
        self.reports.append(report)
        for piece in report.pieces if not over else []:
            assert believable(piece, report)
            self.rows[piece.stream].setdefault(piece.offset, piece.data)
            if in_head(piece, self.cap):
                continue
            rows = self.rows[piece.stream]
            keep = self.cap // 4
            tail = [(at, len(data)) for at, data in rows.items() if at + len(data) > keep]
            for offset in too_much(tail, self.cap):
                del rows[offset]

    def output(self, stream: Stream = Stream.OUT) -> bytes:
        """Return what is stored, one after another, without regard to gaps."""
        return b"".join(data for _, data in sorted(self.rows[stream].items()))

    def spans(self, stream: Stream = Stream.OUT) -> list[tuple[int, int]]:
        """Return begin and end of what is stored without a gap."""
        spans: list[tuple[int, int]] = []
        for offset, data in sorted(self.rows[stream].items()):
            if spans and spans[-1][1] >= offset:
                spans[-1] = (spans[-1][0], max(spans[-1][1], offset + len(data)))
            else:
                spans.append((offset, offset + len(data)))
        return spans


class Server:
    """What a node needs of the services, and a hand to give it orders."""

    def __init__(self, broker: Broker, bus: Bus, node: str) -> None:
        """Order *node* about, over the scheduler's *bus*."""
        self.broker = broker
        self.bus = bus
        self.node = node
        self.key = broker.authority_key
        self.runs: dict[str, Told] = defaultdict(lambda: Told(16 << 20))
        self.pending: dict[str, bytes] = {}
        self.syncs: list[Sync] = []
        self.deaf = False
        self.heartbeats: list[Heartbeat] = []
        self.inventories: list[Inventory] = []
        self.renewals = 0

    @answers(REPORT)
    async def report(self, ask: Report, caller: Caller) -> Nothing:
        """Keep what is told."""
        assert caller.node == self.node
        if self.deaf:
            raise Unavailable("the database is away")
        self.runs[ask.run].take(ask)
        return NOTHING

    @answers(SYNC)
    async def sync(self, ask: Sync, caller: Caller) -> SyncAnswer:
        """Give what the agent does not have, one command at a time."""
        del caller
        self.syncs.append(ask)
        known = {one.run for one in ask.known} | {
            run for run, told in self.runs.items() if told.over
        }
        send = [blob for run, blob in self.pending.items() if run not in known]
        return SyncAnswer(commands=send[:1], more=len(send) > 1)

    def sign(self, verb: str, run: str, args: Message | bytes, **other: Any) -> bytes:
        """Return a signed command."""
        data = args if isinstance(args, bytes) else wire.pack(args)
        now = datetime.now(UTC)
        values = {
            "id": new_id(),
            "node": self.node,
            "verb": verb,
            "run": run,
            "digest": hashlib.sha256(data).hexdigest(),
            "caller": "admin",
            "issued": now,
            "expires": now + timedelta(hours=1),
            "epoch": 1,
            **other,
        }
        return signed.sign(Envelope.model_validate(values), self.key) + data

    async def send(self, verb: str, blob: bytes) -> None:
        """Publish a command."""
        await self.bus.send(f"muster.cmd.{self.node}.{verb}", blob)
        await self.bus.flush()

    async def start(self, command: Command | str, run: str = "", **other: Any) -> str:
        """Order a command, a text for the shell, and return the run's id."""
        run = run or new_id()
        args = shell(command) if isinstance(command, str) else command
        self.runs[run] = Told(args.output_cap)
        await self.send("run", self.sign("run", run, args, **other))
        return run

    async def cancel(self, run: str) -> None:
        """Cancel a run."""
        await self.send("cancel", self.sign("cancel", run, Cancel()))

    async def state(self, run: str, *states: State, seconds: float = PATIENCE) -> Report:
        """Wait until a run is in one of *states* and return the report that told so."""

        def reached() -> bool:
            return run in self.runs and any(r.state in states for r in self.runs[run].reports)

        await until(reached, f"{run} {states}", seconds)
        return next(r for r in self.runs[run].reports if r.state in states)

    async def final(self, run: str, seconds: float = PATIENCE) -> Report:
        """Wait for the end of a run and return the report that told it."""
        return await self.state(run, *(s for s in State if s.final), seconds=seconds)

    async def done(self, command: Command | str, **other: Any) -> Report:
        """Run a command to its end."""
        return await self.final(await self.start(command, **other))

    async def read(self, run: str, path: str = "", **other: Any) -> ResultFiles | FilePart:
        """Ask for files of a run."""
        ask = ReadAsk(command=self.sign("read", run, Read()), path=path, **other)
        subject = f"muster.cmd.{self.node}.read"
        data = await self.bus.request(subject, wire.pack(ask), timeout=10, patience=0)
        return wire.unpack(FilePart, data) if path else wire.unpack(ResultFiles, data)


class Registry:
    """Hears what a registry would."""

    def __init__(self, server: Server) -> None:
        """Keep it in *server*."""
        self.server = server

    @answers(REPORT_INVENTORY)
    async def inventory(self, ask: Inventory, caller: Caller) -> Nothing:
        """Keep an inventory."""
        assert caller.node == self.server.node
        self.server.inventories.append(ask)
        return NOTHING

    async def beat(self, fact: Heartbeat, tokens: tuple[str, ...]) -> None:
        """Keep a heartbeat."""
        assert tokens == (self.server.node,)
        self.server.heartbeats.append(fact)


class Authority:
    """Renews JWTs."""

    def __init__(self, server: Server, public: str) -> None:
        """Of the node whose public key is *public*."""
        self.server = server
        self.public = public

    @answers(RENEW)
    async def renew(self, ask: RenewJwt, caller: Caller) -> Renewed:
        """Give a fresh JWT."""
        del ask
        self.server.renewals += 1
        assert caller.node
        ends = datetime.now(UTC) + timedelta(days=30)
        return Renewed(
            jwt=self.server.broker.world.mint_node(caller.node, self.public, ends),
            authority_keys=["c29tZSBvdGhlciBrZXkgb2YgMzIgYnl0ZXMuLi4uLi4="],
            epoch=1,
        )


@asynccontextmanager
async def serving(broker: Broker, node: str, public: str = "") -> AsyncGenerator[Server]:
    """Be the services of a node."""
    async with (
        broker.connect("scheduler") as scheduler,
        broker.connect("registry") as registry,
        broker.connect("authority") as authority,
    ):
        server = Server(broker, scheduler, node)
        ears = Registry(server)
        async with (
            scheduler.serving(server, name="scheduler", version="0.0.1"),
            registry.serving(ears, name="registry", version="0.0.1"),
            authority.serving(Authority(server, public), name="authority", version="0.0.1"),
            registry.listening(HEARTBEAT, ears.beat),
        ):
            yield server


def join(broker: Broker, home: Home, node: str, life: timedelta = timedelta(days=30)) -> Key:
    """Give *home* an identity as joining does."""
    key = Key.generate("U")
    Identity(
        node=node,
        jwt=broker.world.mint_node(node, key.public, datetime.now(UTC) + life),
        seed=key.seed,
        authority_keys=[natsjwt.text64(broker.public_key)],
        epoch=1,
        urls=[broker.url],
    ).save(home)
    if not home.policy.exists():
        home.write(home.policy, allowing(own_name()))
    return key


class Process:
    """An agent's process, to be killed and started again."""

    made: ClassVar[list["Process"]] = []
    """Whatever a test has started; a fixture ends it, however the test ends."""

    def __init__(
        self,
        home: Home,
        server: Server,
        words: Sequence[str] = ("-m", "muster.agent", "run"),
        **settings: str,
    ) -> None:
        """Run the agent of *home*, which is a node of *server*; *words* for another part of it."""
        self.made.append(self)
        self.home = home
        self.server = server
        self.words = words
        self.env = {f"MUSTER_AGENT_{name.upper()}": value for name, value in settings.items()}
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        before = len(self.server.syncs)
        await self.spawn()
        await until(lambda: len(self.server.syncs) > before, "the first sync")

    async def spawn(self) -> None:
        """Start it."""
        log = (self.home.root.parent / "agent.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self.words,
            "--data-dir",
            str(self.home.root),
            stdout=log,
            stderr=log,
            env={**os.environ, "MUSTER_AGENT_MIN_FREE_PERCENT": "0", **self.env},
        )
        log.close()

    @property
    def pid(self) -> int:
        """Its pid."""
        assert self.process
        return self.process.pid

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        assert self.process
        if self.process.returncode is None:
            self.process.send_signal(number)
        code = await self.process.wait()
        self.process = None
        return code

    async def kill(self) -> None:
        """End it without a chance to tidy up."""
        await self.end(signal.SIGKILL)

    def logged(self) -> str:
        """Return what it has logged."""
        return (self.home.root.parent / "agent.log").read_text()

    def status(self) -> dict[str, Any]:
        """Return its status file."""
        try:
            found: dict[str, Any] = json.loads(self.home.status.read_bytes())
        except (OSError, ValueError):
            return {}
        return found


def reaped(home: Home) -> None:
    """Kill the supervisors and the commands that a test has left behind."""
    for path in home.jobs.glob("*"):
        tree.tell(tree.marked(f"MUSTER_RUN={path.name}"), signal.SIGKILL)


async def end_all() -> None:
    """End every process that was made, and what those have started."""
    while Process.made:
        process = Process.made.pop()
        if process.process:
            await process.end()
        reaped(process.home)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    return tree.started(pid) is not None
