"""Who may say and hear what: a real broker holds everybody to it."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.errors import Error, NoRespondersError
from pydantic import ValidationError

from muster.contracts.names import new_node_id
from muster.kit import bus
from muster.kit.bus import Bus, Raw
from muster.kit.client import Credentials
from muster.kit.files import write_private
from muster.kit.identity import natsjwt
from muster.kit.identity.broker import Listener, server_config
from muster.kit.identity.nkeys import Key
from muster.kit.identity.world import SERVICES, World
from muster.kit.testing import Broker

PUSH = "$SYS.REQ.CLAIMS.UPDATE"

REFUSED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""nats-py leaves the socket of an attempt that the broker refuses to the garbage collector."""

OF_A_NODE = (
    "muster.hb.{}",
    "muster.svc.registry.inventory.{}",
    "muster.svc.scheduler.sync.{}",
    "muster.svc.scheduler.report.{}",
    "muster.svc.authority.renew.{}",
)
NOT_TO_SAY = (
    "_INBOX_gateway.x",
    "_INBOX.x",
    "muster.svc.authority.sign",
    "muster.svc.authority.exchange",
    "muster.svc.authority.join",
    "muster.svc.registry.list",
    "muster.svc.scheduler.create",
    "muster.fact.authority.node.x.revoked",
    "muster.live.registry.nodes",
    "muster.dead.x",
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.DELETE.FACTS",
    "$JS.API.DIRECT.GET.FACTS",
    "$SYS.REQ.CLAIMS.UPDATE",
    "$SYS.REQ.SERVER.PING",
    "$SRV.PING",
)
NOT_TO_HEAR = (
    "muster.cmd.*.run",
    "muster.cmd.>",
    "muster.>",
    ">",
    "*",
    "_INBOX.>",
    "_INBOX_registry.>",
    "muster.hb.*",
    "muster.svc.>",
    "muster.fact.>",
    "muster.live.>",
    "$SYS.>",
    "$SYS.ACCOUNT.>",
    "$SRV.>",
    "$JS.>",
    "$JS.API.>",
)


class Peer:
    """Somebody with credentials, who tries things."""

    def __init__(self, name: str, bus: Bus) -> None:
        """Note what the broker refuses."""
        self.name = name
        self.client: Client = bus.client
        self.refused: list[str] = []
        self.client._error_cb = self._note  # noqa: SLF001 (nats-py has no other way after connect)

    async def _note(self, error: Exception) -> None:
        self.refused.append(str(error).lower())

    async def may_publish(self, subject: str) -> bool:
        """Publish, and see whether the broker takes it."""
        self.refused.clear()
        await self.client.publish(subject, b"x")
        return await self._silence()

    async def may_subscribe(self, subject: str) -> bool:
        """Subscribe, and see whether the broker takes it."""
        self.refused.clear()
        subscription = await self.client.subscribe(subject)
        allowed = await self._silence()
        if allowed:
            await subscription.unsubscribe()
        else:
            self.client._subs.pop(subscription._id, None)  # noqa: SLF001 (the broker has none)
        return allowed

    async def _silence(self) -> bool:
        for _ in range(2):  # nats-py's first ping overtakes what was written before it
            await self.client.flush(timeout=10)
        return not any("permissions violation" in text for text in self.refused)


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Have the sockets of refused attempts collected where that is expected."""
    yield
    gc.collect()


@pytest.fixture
async def peers(broker: Broker) -> AsyncIterator[dict[str, Peer]]:
    """Everybody who has credentials; ``red`` and ``blue`` are nodes."""
    async with AsyncExitStack() as stack:
        found = {}
        names = ["authority", "gateway", "registry", "scheduler", "registry-sys", "authority-sys"]
        for name in names:
            found[name] = Peer(name, await stack.enter_async_context(broker.connect(name)))
        for color in ("red", "blue"):
            node = broker.node()[0]
            found[color] = Peer(node, await stack.enter_async_context(broker.connect(node)))
        yield found


async def test_a_node_is_held_to_its_own_subjects(peers: dict[str, Peer]) -> None:
    """It speaks for itself and hears its own; not one subject of anybody else, nor a wildcard."""
    red, own, other = peers["red"], peers["red"].name, peers["blue"].name
    for name, allowed in ((own, True), (other, False)):
        for subject in OF_A_NODE:
            assert await red.may_publish(subject.format(name)) == allowed, subject
        for subject in ("muster.cmd.{}.*", "muster.cmd.{}.run", "_INBOX_{}.>", "_INBOX_{}.a"):
            assert await red.may_subscribe(subject.format(name)) == allowed, subject
    for name in (own, other):
        for subject in ("muster.cmd.{}.run", "muster.hb.{}.x", "muster.svc.registry.list.{}"):
            assert not await red.may_publish(subject.format(name)), subject
        for subject in OF_A_NODE:
            assert not await red.may_subscribe(subject.format(name)), subject
    assert not await red.may_publish(f"_INBOX_{other}.x")
    assert [subject for subject in NOT_TO_SAY if await red.may_publish(subject)] == []
    assert [subject for subject in NOT_TO_HEAR if await red.may_subscribe(subject)] == []


async def test_each_service_may_do_its_own_work_only(peers: dict[str, Peer]) -> None:
    """Only the scheduler commands; each tells its own facts; only its own questions come to it."""
    node = peers["red"].name
    services = ("authority", "gateway", "registry", "scheduler")
    for name in services:
        peer = peers[name]
        assert await peer.may_publish(f"muster.cmd.{node}.run") == (name == "scheduler")
        assert await peer.may_subscribe(f"muster.cmd.{node}.run") is False
        assert await peer.may_subscribe("muster.hb.*") == (name == "registry")
        assert await peer.may_publish(f"muster.svc.scheduler.report.{node}") is False
        assert await peer.may_publish("$JS.API.STREAM.DELETE.FACTS") is False
        assert await peer.may_publish("$JS.API.STREAM.PURGE.FACTS") is False
        for other in services:
            own = name == other
            assert await peer.may_publish(f"muster.fact.{other}.x") == own
            assert await peer.may_publish(f"muster.live.{other}.x") == own
            assert await peer.may_subscribe(f"muster.svc.{other}.ask") == own
            assert await peer.may_subscribe(f"_INBOX_{other}.>") == own


async def test_only_two_see_the_system_account(broker: Broker, peers: dict[str, Peer]) -> None:
    """The registry sees connections and pushes nothing; the authority pushes and sees nothing."""
    account = broker.world.account.public
    sees, pushes = peers["registry-sys"], peers["authority-sys"]
    for event in ("CONNECT", "DISCONNECT"):
        assert await sees.may_subscribe(f"$SYS.ACCOUNT.{account}.{event}")
        assert not await pushes.may_subscribe(f"$SYS.ACCOUNT.{account}.{event}")
    assert await pushes.may_publish(PUSH)
    assert not await sees.may_publish(PUSH)
    for peer in (sees, pushes):
        for subject in ("$SYS.>", "$SYS.SERVER.>", "$SYS.ACCOUNT.*.CONNECT", ">"):
            assert not await peer.may_subscribe(subject)
        for subject in ("$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PING.CONNZ", "muster.x"):
            assert not await peer.may_publish(subject)
    for name in ("authority", "registry"):  # in the other account these are empty words
        with pytest.raises((Error, NoRespondersError)):
            await peers[name].client.request(PUSH, b"", timeout=0.3)


async def test_the_registry_is_told_who_connects(broker: Broker) -> None:
    """With the key that the node has, which nobody else has."""
    heard: asyncio.Queue[Raw] = asyncio.Queue()
    subject = f"$SYS.ACCOUNT.{broker.world.account.public}.CONNECT"
    node, creds = broker.node()
    async with (
        broker.connect("registry-sys") as system,
        system.hearing(subject, heard.put),
        broker.connect(node),
        asyncio.timeout(20),
    ):
        message = await heard.get()
    assert Credentials.from_file(creds).key.public.encode() in message.data


@pytest.mark.parametrize(
    "name", ["*", ">", "", "a.b", "n*", "node", "nAAAAAAAAAAAAAAAA", "n234567abcdefghij\n", " "]
)
def test_a_node_with_a_hostile_name_is_not_minted(tmp_path: Path, name: str) -> None:
    """A name such as ``*`` would open the commands of every node."""
    world = World.open(tmp_path / "keys")
    with pytest.raises(ValidationError):
        world.mint_node(name, Key.generate("U").public, datetime.now(UTC))


@REFUSED
async def test_a_node_cannot_bring_rights_of_its_own(broker: Broker) -> None:
    """A JWT of the scoped key that carries permissions is refused by the broker."""
    node, key = new_node_id(), Key.generate("U")
    nats = {"issuer_account": broker.world.account.public, "pub": {"allow": [">"]}}
    token = natsjwt.encode("user", key.public, node, nats, broker.world.node_signing)
    path = broker.data_dir / "creds" / f"{node}.creds"
    write_private(path, natsjwt.creds_text(token, key.seed))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5), broker.connect(node):
            pass


async def push(broker: Broker, revocations: dict[str, int]) -> None:
    """Push an account as the authority does: first on our disk, then to the broker."""
    token = broker.world.account_jwt(revocations)
    write_private(broker.world.account_file, token)
    async with broker.connect("authority-sys") as system:
        assert b"200" in await system.request(PUSH, token.encode(), timeout=10)


@REFUSED
async def test_a_revoked_node_is_out_at_once_and_for_good(broker: Broker) -> None:
    """Its live connection is cut; neither trying again nor a restart lets it in; others stay."""
    node, creds = broker.node()
    other = broker.node()[0]
    public = Credentials.from_file(creds).key.public
    loop = asyncio.get_running_loop()
    async with broker.connect(node) as out, broker.connect(other) as stays:
        begun = loop.time()
        await push(broker, {public: int(datetime.now(UTC).timestamp()) + 1})
        async with asyncio.timeout(10):
            while out.connected:
                await asyncio.sleep(0.01)
        assert loop.time() - begun < 3  # a connection for the push included
        assert stays.connected
        await asyncio.sleep(1)  # it tries again meanwhile
        assert not out.connected
        broker.write_config()
        await asyncio.to_thread(broker.restart)
        async with asyncio.timeout(20):
            while not stays.connected:
                await asyncio.sleep(0.02)
        await asyncio.sleep(1)
        assert not out.connected


@REFUSED
async def test_two_pushes_in_one_second_both_hold(broker: Broker) -> None:
    """The account of the second one is as old as the first by its time stamp: it is taken."""
    first, second = broker.node(), broker.node()
    keys = [Credentials.from_file(path).key.public for _, path in (first, second)]
    until = int(datetime.now(UTC).timestamp()) + 1
    async with broker.connect(first[0]) as one, broker.connect(second[0]) as two:
        await push(broker, {keys[0]: until})
        await push(broker, dict.fromkeys(keys, until))
        async with asyncio.timeout(10):
            while one.connected or two.connected:
                await asyncio.sleep(0.01)


@REFUSED
async def test_an_expired_node_is_out(broker: Broker) -> None:
    """Credentials end when they say, on a live connection too."""
    node, key = new_node_id(), Key.generate("U")
    token = broker.world.mint_node(node, key.public, datetime.now(UTC) + timedelta(seconds=2))
    path = broker.data_dir / "creds" / f"{node}.creds"
    write_private(path, natsjwt.creds_text(token, key.seed))
    async with bus.connect(broker.url, name=node, creds=path) as line, asyncio.timeout(20):
        while line.connected:
            await asyncio.sleep(0.02)


def test_the_broker_is_configured_to_lose_nothing(tmp_path: Path) -> None:
    """What is acknowledged is on the disk; disk, memory and messages have limits."""
    world = World.open(tmp_path / "keys")
    listener = Listener("::1", 4222, 8222, disk=12345, memory=678)
    text = server_config(world, tmp_path / 'a "quoted" home', listener)
    for line in (
        "sync_interval: always",
        "max_file_store: 12345",
        "max_memory_store: 678",
        "max_payload: 1MB",
        'ping_interval: "5s"',
        "ping_max: 2",
        'listen: "[::1]:4222"',
        'http: "127.0.0.1:8222"',
        'home/js"',
    ):
        assert line in text
    assert "tls {" not in text
    files = Listener("0.0.0.0", 1, 2, disk=1, cert=tmp_path / "c", key=tmp_path / "k")  # noqa: S104
    assert "handshake_first: true" in server_config(world, tmp_path, files)


def test_the_keys_are_private_and_stay(tmp_path: Path) -> None:
    """Made once, read ever after, and for the owner alone."""
    keys = tmp_path / "keys"
    first, again = World.open(keys), World.open(keys)
    assert first.account.public == again.account.public
    assert natsjwt.claims(again.current_account_jwt())["sub"] == first.account.public
    assert oct(keys.stat().st_mode & 0o777) == "0o700"
    assert {oct(path.stat().st_mode & 0o777) for path in keys.iterdir()} == {"0o600"}
    again.write_creds(tmp_path / "creds")
    assert len(os.listdir(tmp_path / "creds")) == 6  # noqa: PTH208
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "creds").iterdir()} == {0o600}


def test_every_service_fits_through_the_door(tmp_path: Path) -> None:
    """The broker reads a JWT as one line, and cuts off whoever sends a longer one."""
    world = World.open(tmp_path)
    text = server_config(world, tmp_path, Listener("127.0.0.1", 1, 2, disk=1))
    limit = int(text.partition("max_control_line: ")[2].partition("KB")[0]) * 1024
    for name in SERVICES:
        assert len(world.service_creds(name)) < limit * 3 // 4, name
