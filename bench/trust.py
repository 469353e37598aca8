"""What trust costs on the way of a run: the same scheduler with the authority, and with none.

The peer is a stand-in that answers every question for signatures at once: no rights are looked up,
no policy is decided, nothing is signed, nothing is written into an audit.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.crowd import everything
from bench.figures import Figure, middle
from muster.authority.part import Tools
from muster.authority.service import Authority
from muster.authority.settings import Settings as AuthoritySettings
from muster.contracts.authority import (
    CREATE_JOIN_TOKEN,
    EXCHANGE,
    JOIN,
    SIGN,
    CreateJoinToken,
    Exchange,
    Join,
    Sign,
    Signed,
)
from muster.contracts.names import new_id, new_node_id
from muster.contracts.nodes import (
    NODE_FACTS,
    REACH,
    RESOLVE,
    AskReach,
    Facts,
    NodeFacts,
    NodeState,
    Reach,
    Resolved,
    Target,
    Targets,
    WhichNodes,
)
from muster.contracts.people import RIGHTS_AFTER, RightsAfter, RightsChanged
from muster.contracts.runs import CREATE_RUN, GET_RUN, Command, CreateRun, Envelope, GetRun
from muster.kit import bus
from muster.kit.bus import Bus, Caller, Raw, answers
from muster.kit.durable import ensure_streams
from muster.kit.identity import envelope
from muster.kit.identity.nkeys import Key
from muster.kit.outbox import relaying
from muster.kit.sql import open_database
from muster.kit.tasks import running
from muster.kit.testing import Broker
from muster.scheduler.service import Scheduler
from muster.scheduler.settings import Settings

Enter = Callable[[Any], Awaitable[Any]]
NODES = 30
ROUNDS = 40
TURNS = 3


class Blind:
    """An authority that asks nobody, and signs nothing."""

    @answers(SIGN)
    async def sign(self, ask: Sign, caller: Caller) -> Signed:  # noqa: ARG002
        """Answer with something of the length of an envelope."""
        blob = b'M1"run":"' + ask.run.encode() + b'"' + bytes(380)
        return Signed(envelopes=[blob] * len(ask.nodes))

    @answers(RIGHTS_AFTER)
    async def rights(self, ask: RightsAfter, caller: Caller) -> RightsChanged:  # noqa: ARG002
        """Tell that nothing has changed."""
        return RightsChanged(revision=0)


class Directory:
    """A registry of nodes that are all there."""

    def __init__(self, nodes: list[str]) -> None:
        """Know *nodes*."""
        self.nodes = nodes

    @answers(RESOLVE)
    async def resolve(self, ask: Targets, caller: Caller) -> Resolved:  # noqa: ARG002
        """Mean all of them."""
        found = [Target(id=node, name=node, state=NodeState.ONLINE) for node in self.nodes]
        return Resolved(items=found)

    @answers(NODE_FACTS)
    async def facts(self, ask: WhichNodes, caller: Caller) -> NodeFacts:  # noqa: ARG002
        """Tell what grants go by."""
        return NodeFacts(items=[Facts(id=node, name=node) for node in ask.nodes])

    @answers(REACH)
    async def reach(self, ask: AskReach, caller: Caller) -> Reach:  # noqa: ARG002
        """Let everybody see everything."""
        return Reach(everywhere=True)


@asynccontextmanager
async def stage(folder: Path, *, blind: bool) -> AsyncGenerator[tuple[Bus, str]]:
    """Run a scheduler with or without an authority; yield a client and a ticket."""
    broker = Broker(folder)
    broker.start()
    try:
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            client = await enter(broker.connect("gateway"))
            authority = await enter(broker.connect("authority"))
            await ensure_streams(authority.client)
            if blind:
                nodes = [new_node_id() for _ in range(NODES)]
                await enter(authority.serving(Blind(), name="authority", version="0.0.1"))
                ticket = broker.ticket()
            else:
                nodes, ticket = await _authority(enter, broker, client, authority)
            registry = await enter(broker.connect("registry"))
            await enter(registry.serving(Directory(nodes), name="registry", version="0.0.1"))
            await _crowd(enter, broker)
            await _scheduler(enter, broker)
            yield client, ticket
    finally:
        broker.stop()


async def _authority(enter: Enter, broker: Broker, client: Bus, line: Bus) -> tuple[list[str], str]:
    settings = AuthoritySettings(data_dir=broker.data_dir, nats=[broker.url])
    where = settings.database_of("authority")
    db = await enter(open_database(where, migrations="muster.authority"))
    system = await enter(broker.connect("authority-sys"))
    authority = Authority(Tools(broker.world, db, line, system, settings))
    await authority.prepare()
    await enter(relaying(db, line))
    await enter(running(authority.forever(), "authority"))
    await enter(line.serving(authority, name="authority", version="0.0.1"))
    secret = (broker.data_dir / "keys" / "local.token").read_text()
    ticket = (await client.ask(EXCHANGE, Exchange(secret=secret))).ticket
    nodes = []
    for _ in range(NODES):
        token = await client.ask(CREATE_JOIN_TOKEN, CreateJoinToken(), ticket=ticket)
        key = Key.generate("U")
        proof = key.sign((token.secret + key.public).encode())
        ask = Join(secret=token.secret, public_key=key.public, proof=proof)
        nodes.append((await client.ask(JOIN, ask)).node)
    return nodes, ticket


async def _scheduler(enter: Enter, broker: Broker) -> None:
    db = await enter(
        open_database(f"sqlite:///{broker.data_dir}/scheduler.db", migrations="muster.scheduler")
    )
    line = await enter(broker.connect("scheduler"))
    scheduler = Scheduler(line, db, Settings(data_dir=broker.data_dir))
    await enter(relaying(db, line))
    await enter(line.hearing(scheduler.dispatcher.replies, scheduler.dispatcher.heard))
    await enter(running(scheduler.keeper.fold_forever(), "folding"))
    await enter(line.serving(scheduler, name="scheduler", version="0.0.1"))
    await enter(running(scheduler.keeper.tick_forever(), "ticking"))


async def _crowd(enter: Enter, broker: Broker) -> None:
    """Play the nodes: answer every command at once as done."""
    creds = everything(broker.world)
    line = await enter(bus.connect(broker.url, name="crowd", creds=lambda: creds))

    async def take(message: Raw) -> None:
        node = message.subject.split(".")[2]
        run = message.data.split(b'"run":"', 1)[1][:26].decode()
        body = f'{{"run":"{run}","command":"{run}","state":"done","exit":0}}'
        subject = f"muster.svc.scheduler.report.{node}"
        await line.client.publish(subject, body.encode(), reply=f"_INBOX_{node}.x")

    await enter(line.hearing("muster.cmd.*.run", take))


async def _seconds(*, blind: bool) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder), blind=blind) as (client, ticket):
            found = []
            for _ in range(ROUNDS):
                began = time.monotonic()
                ask = CreateRun(command=Command(argv=["true"]), targets=Targets(all=True))
                run = await client.ask(CREATE_RUN, ask, ticket=ticket, timeout=20)
                await client.ask(GET_RUN, GetRun(run=run.id, wait=10), ticket=ticket, timeout=20)
                found.append(time.monotonic() - began)
    return found[5:]


def measure() -> Iterator[Figure]:
    """Yield the cost of trust, and of signatures alone."""
    honest: list[float] = []
    peers: list[float] = []
    for _ in range(TURNS):
        honest += asyncio.run(_seconds(blind=False))
        peers += asyncio.run(_seconds(blind=True))
    yield Figure(
        what=f"run on {NODES} simulated agents, rights, policy, audit and signatures",
        unit="ms",
        value=middle(honest),
        peer="none of them",
        peer_value=middle(peers),
        goal="<= 1.5 x",
    )
    yield _signing()


def _signing() -> Figure:
    """Sign commands for many nodes; the floor is a bare Ed25519 signature each."""
    with tempfile.TemporaryDirectory() as folder:
        key = Broker(Path(folder)).authority_key
    count = 20_000
    issued = datetime.now(UTC)
    nodes = [f"n{'a' * 16}"] * count
    model = Envelope(
        id=new_id(), node=nodes[0], verb="run", run=new_id(), digest="0" * 64, caller="bench",
        issued=issued, expires=issued + timedelta(hours=1), epoch=1,
    )  # fmt: skip
    began = time.monotonic()
    envelope.sign_many(model, nodes, key)
    ours = count / (time.monotonic() - began)
    text = bytes(400)
    began = time.monotonic()
    for _ in range(count):
        key.sign(text)
    floor = count / (time.monotonic() - began)
    return Figure(
        what="commands signed on one core",
        unit="/s",
        value=round(ours),
        peer="bare signatures",
        peer_value=round(floor),
        goal=">= 10,000 /s",
    )
