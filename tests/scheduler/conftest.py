"""A stage for the scheduler: a real broker, peers that sign and resolve, and nodes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from muster.contracts.approvals import APPROVAL_DECIDED, RELEASE, Release, Released
from muster.contracts.authority import RECHECK, SIGN, Recheck, Rechecked, Sign, Signed
from muster.contracts.names import new_id
from muster.contracts.nodes import (
    NODE_REVOKED,
    REACH,
    RESOLVE,
    AskReach,
    NodeState,
    Reach,
    Resolved,
    Target,
    Targets,
)
from muster.contracts.runs import (
    CREATE_RUN,
    GET_RUN,
    REPORT,
    SYNC,
    Command,
    CreateRun,
    Envelope,
    GetRun,
    Journalled,
    Piece,
    Report,
    RunView,
    State,
    Stream,
    Sync,
    SyncAnswer,
)
from muster.kit.bus import Bus, Caller, Raw, answers
from muster.kit.durable import ensure_streams
from muster.kit.identity import envelope
from muster.kit.outbox import relaying
from muster.kit.selectors import Facts
from muster.kit.sql import open_database
from muster.kit.tasks import running
from muster.kit.testing import Broker
from muster.scheduler.service import Scheduler
from muster.scheduler.settings import Settings


class Signer:
    """The authority, as far as the scheduler needs it."""

    def __init__(self, broker: Broker) -> None:
        """Sign with the broker's world."""
        self._key = broker.authority_key
        self._asked: dict[str, Envelope] = {}
        self.refused: set[str] = set()
        self.approval: set[str] = set()
        """Nodes for which another person has to approve."""

    @answers(SIGN)
    async def sign(self, ask: Sign, caller: Caller) -> Signed:
        """Sign whatever is asked for."""
        model = Envelope(
            id=new_id(),
            node=ask.nodes[0],
            verb=ask.verb,
            run=ask.run,
            digest=ask.digest,
            caller=caller.name,
            issued=datetime.now(UTC),
            expires=ask.expires,
            epoch=1,
        )
        self._asked[ask.run] = model
        signed = envelope.sign_many(model, ask.nodes, self._key)
        waits = self.approval if ask.verb == "run" else set()
        pairs = zip(ask.nodes, signed, strict=True)
        return Signed(envelopes=[b"" if node in waits else blob for node, blob in pairs])

    @answers(RELEASE)
    async def release(self, ask: Release, caller: Caller) -> Released:  # noqa: ARG002
        """Sign what was asked for once, but for who has lost the right."""
        signed = envelope.sign_many(self._asked[ask.run], ask.nodes, self._key)
        pairs = zip(ask.nodes, signed, strict=True)
        return Released(
            envelopes=[b"" if node in self.refused else blob for node, blob in pairs],
            refused=dict.fromkeys(self.refused & set(ask.nodes), "no right any more"),
        )

    @answers(RECHECK)
    async def recheck(self, ask: Recheck, caller: Caller) -> Rechecked:  # noqa: ARG002
        """Refuse what the test wants refused."""
        return Rechecked(refused={node: "no more" for node in ask.nodes if node in self.refused})


class Directory:
    """The registry, as far as the scheduler needs it: names are ids."""

    def __init__(self) -> None:
        """Know no node."""
        self.known: set[str] = set()

    @answers(RESOLVE)
    async def resolve(self, ask: Targets, caller: Caller) -> Resolved:  # noqa: ARG002
        """Return what was asked for."""
        self.known |= set(ask.names)
        return Resolved(
            items=[Target(id=name, name=name, state=NodeState.ONLINE) for name in ask.names]
        )

    @answers(REACH)
    async def reach(self, ask: AskReach, caller: Caller) -> Reach:
        """Tell on which nodes the caller may do something."""
        reach = caller.reach(ask.action)
        covered = [node for node in self.known if reach.covers(Facts(node, node))]
        return Reach(everywhere=reach.everywhere, nodes=sorted(covered))


@dataclass
class Node:
    """A node that does as the test says; it has a journal in memory."""

    id: str
    broker: Broker
    got: list[tuple[Envelope, bytes]] = field(default_factory=list)
    journal: dict[str, State] = field(default_factory=dict)
    bus: Bus | None = None

    @asynccontextmanager
    async def online(self) -> AsyncGenerator["Node"]:
        """Be connected for the length of the block."""
        async with self.broker.connect(self.id) as bus:
            self.bus = bus
            async with bus.hearing(f"muster.cmd.{self.id}.*", self._take):
                yield self
        self.bus = None

    async def _take(self, message: Raw) -> None:
        self.got.append(envelope.open_command(message.data, [self.broker.public_key]))

    async def command(self, verb: str = "run", number: int = 0, seconds: float = 10) -> Envelope:
        """Wait for a command and return its envelope."""
        async with asyncio.timeout(seconds):
            while True:
                found = [env for env, _ in self.got if env.verb == verb]
                if len(found) > number:
                    return found[number]
                await asyncio.sleep(0.01)

    async def report(self, run: str, state: State, out: bytes = b"", **more: object) -> None:
        """Tell the scheduler; returns when it is committed."""
        assert self.bus
        self.journal[run] = state
        pieces = [Piece(stream=Stream.OUT, offset=0, data=out)] if out else []
        values = {"stdout": len(out), "pieces": pieces, **more}
        report = Report(run=run, command=new_id(), state=state, **values)
        await self.bus.ask(REPORT, report, node=self.id)

    async def sync(self) -> SyncAnswer:
        """Ask what was missed."""
        assert self.bus
        known = [Journalled(run=run, state=state) for run, state in self.journal.items()]
        return await self.bus.ask(SYNC, Sync(known=known), node=self.id)


@dataclass
class Stage:
    """The scheduler and a client of it."""

    broker: Broker
    database: str
    client: Bus
    settings: Settings
    signer: Signer
    scheduler: Scheduler | None = None

    @asynccontextmanager
    async def playing(self) -> AsyncGenerator[Scheduler]:
        """Run the scheduler for the length of the block, composed as in production."""
        async with AsyncExitStack() as stack:
            db = await stack.enter_async_context(
                open_database(self.database, migrations="muster.scheduler")
            )
            bus = await stack.enter_async_context(self.broker.connect("scheduler"))
            await ensure_streams(bus.client)
            scheduler = Scheduler(bus, db, self.settings)
            for part in (
                relaying(db, bus),
                bus.hearing(scheduler.dispatcher.replies, scheduler.dispatcher.heard),
                running(scheduler.keeper.fold_forever(), "folding"),
                bus.serving(scheduler, name="scheduler", version="0.0.1"),
                running(scheduler.keeper.tick_forever(), "ticking"),
                running(scheduler.rechecking.forever(), "rechecking"),
                bus.consuming(NODE_REVOKED, scheduler.node_revoked, durable="scheduler_revoked"),
                bus.consuming(APPROVAL_DECIDED, scheduler.decided, durable="scheduler_approvals"),
            ):
                await stack.enter_async_context(part)
            await scheduler.resume()
            yield scheduler

    def node(self) -> Node:
        """Return a new node, still away."""
        return Node(self.broker.node()[0], self.broker)

    async def run(self, *nodes: Node, **more: object) -> RunView:
        """Create a run of ``true``."""
        command = more.pop("command", Command(argv=["true"]))
        ask = CreateRun(
            command=command,
            targets=Targets(names=[node.id for node in nodes]),
            **more,
        )
        return await self.client.ask(CREATE_RUN, ask, ticket=self.broker.ticket())

    async def get(self, run: str, wait: float = 0) -> RunView:
        """Return a run."""
        return await self.client.ask(
            GET_RUN, GetRun(run=run, wait=wait), ticket=self.broker.ticket(), timeout=wait + 10
        )

    async def until(
        self, run: str, true: Callable[[RunView], bool], seconds: float = 15
    ) -> RunView:
        """Wait until a run is as it should be."""
        async with asyncio.timeout(seconds):
            while True:
                view = await self.get(run)
                if true(view):
                    return view
                await asyncio.sleep(0.03)

    async def state(self, run: str, node: Node, state: State, seconds: float = 15) -> RunView:
        """Wait until a target is in a state."""

        def there(view: RunView) -> bool:
            return any(one.node == node.id and one.state is state for one in view.targets)

        return await self.until(run, there, seconds)


@pytest.fixture
async def backstage(broker: Broker, tmp_path: Path) -> AsyncIterator[Stage]:
    """Everything but the scheduler itself."""
    signer = Signer(broker)
    async with (
        broker.connect("authority") as authority,
        broker.connect("registry") as registry,
        broker.connect("gateway") as client,
        authority.serving(signer, name="authority", version="0.0.1"),
        registry.serving(Directory(), name="registry", version="0.0.1"),
    ):
        settings = Settings(data_dir=tmp_path, resend_after=0.5, lost_after=0.5)
        yield Stage(broker, f"sqlite:///{tmp_path}/scheduler.db", client, settings, signer)


@pytest.fixture
async def stage(backstage: Stage) -> AsyncIterator[Stage]:
    """The scheduler on SQLite, playing."""
    async with backstage.playing() as scheduler:
        backstage.scheduler = scheduler
        yield backstage
