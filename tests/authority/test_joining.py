"""Nodes' credentials: one token, one node; and out is out."""

import asyncio
import gc
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from muster.contracts.authority import (
    LIST_JOIN_TOKENS,
    RENEW,
    REVOKE_JOIN_TOKEN,
    REVOKE_NODE,
    RenewJwt,
    RevokeJoinToken,
    RevokeNode,
)
from muster.contracts.base import NOTHING
from muster.contracts.errors import Conflict, Denied, Expired, MusterError, NotFound
from muster.contracts.names import new_id, new_node_id
from muster.contracts.nodes import NODE_JOINED, NODE_REVOKED, NodeJoined, NodeRevoked
from muster.kit.bus import Bus
from muster.kit.identity import natsjwt
from muster.kit.identity.nkeys import Key
from tests.authority.conftest import Stage

REFUSED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""nats-py leaves the socket of an attempt that the broker refuses to the garbage collector."""


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Have the sockets of refused attempts collected where that is expected."""
    yield
    gc.collect()


async def revoke(stage: Stage, node: str, reason: str = "") -> None:
    """Shut a node out."""
    ask = RevokeNode(node=node, reason=reason)
    await stage.client.ask(REVOKE_NODE, ask, ticket=stage.broker.ticket("node.revoke"), timeout=20)


async def gone(bus: Bus, seconds: float) -> None:
    """Wait until a node is cut off."""
    async with asyncio.timeout(seconds):
        while bus.connected:
            await asyncio.sleep(0.005)


async def test_a_host_becomes_a_node(stage: Stage) -> None:
    """With what it needs to connect, and what it needs to know whom to obey."""
    token = await stage.token(name="web", groups=["eu"], tags={"env": "prod"}, note="rack 3")
    key = Key.generate("U")
    joined = await stage.join(token.secret, key)
    said = natsjwt.claims(joined.jwt)
    assert (said["sub"], said["name"]) == (key.public, joined.node)
    assert said["exp"] - said["iat"] == pytest.approx(30 * 86400, abs=5)
    assert joined.authority_keys == [natsjwt.text64(stage.broker.public_key)]
    assert joined.urls == [stage.broker.url]
    listed = await stage.client.ask(LIST_JOIN_TOKENS, NOTHING, ticket=stage.broker.ticket())
    assert [(one.id, one.node, one.note) for one in listed.items] == [
        (token.id, joined.node, "rack 3")
    ]
    assert token.secret not in listed.model_dump_json()
    [record] = await stage.audit(action="node.join")
    assert (record.who, record.nodes) == (f"@token:{token.id}", [joined.node])


async def test_a_token_is_for_one_host(stage: Stage) -> None:
    """Used ten times at the same time and once more: exactly one node."""
    token = await stage.token()
    tries = [stage.join(token.secret) for _ in range(10)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    joined = [one for one in results if not isinstance(one, BaseException)]
    assert len(joined) == 1
    assert sum(isinstance(one, Conflict) for one in results) == 9
    with pytest.raises(Conflict, match="has been used"):
        await stage.join(token.secret)
    records = await stage.audit(action="node.join")
    assert [one.result for one in records].count("ok") == 1
    assert [one.result for one in records].count("conflict") == 10


async def test_what_is_not_a_good_token_opens_nothing(stage: Stage) -> None:
    """Expired, revoked or made up: the host is told, and what to do."""
    old, dropped = await stage.token(ttl=60), await stage.token()
    ask = RevokeJoinToken(id=dropped.id)
    await stage.client.ask(REVOKE_JOIN_TOKEN, ask, ticket=stage.broker.ticket())
    with pytest.raises(NotFound):
        await stage.client.ask(REVOKE_JOIN_TOKEN, ask, ticket=stage.broker.ticket())
    for secret in (dropped.secret, "mjoin_x", "", old.secret.upper()):
        with pytest.raises(NotFound, match="muster node token"):
            await stage.join(secret)
    stage.clock.ahead = timedelta(seconds=60)
    with pytest.raises(Expired, match="expired"):
        await stage.join(old.secret)


async def test_a_host_proves_that_it_has_the_key(stage: Stage) -> None:
    """Nobody joins with a key that he has only seen; the token is not lost by that."""
    token, key = await stage.token(), Key.generate("U")
    for proof in (b"", bytes(64), key.sign(token.secret.encode()), Key.generate("U").sign(b"x")):
        with pytest.raises(Denied, match="proof"):
            await stage.join(token.secret, key, proof=proof)
    await stage.join(token.secret, key)


async def test_a_key_is_of_one_node(stage: Stage) -> None:
    """A copied key does not become a second node; the token stays good for another host."""
    key, second = Key.generate("U"), await stage.token()
    await stage.join((await stage.token()).secret, key)
    with pytest.raises(Conflict, match="joined before"):
        await stage.join(second.secret, key)
    await stage.join(second.secret)


@pytest.mark.parametrize("hostname", ["", "x\0y", "\x1b[31m\u202e", "é" * 200, "*.>"])
async def test_a_hostile_host_name_does_no_harm(stage: Stage, hostname: str) -> None:
    """It is told as it is, made visible."""
    joined = await stage.join((await stage.token()).secret, hostname=hostname)
    [record] = await stage.audit(action="node.join")
    assert record.nodes == [joined.node]
    assert not set(record.detail) & set("\0\x1b\u202e")


async def test_the_facts_are_told_once(stage: Stage) -> None:
    """That a node has joined, and that it is revoked; each once, however often one asks."""
    joined: list[NodeJoined] = []
    revoked: list[NodeRevoked] = []

    async def take(fact: Any, _: str) -> None:
        (joined if isinstance(fact, NodeJoined) else revoked).append(fact)

    async with (
        stage.broker.connect("registry") as bus,
        bus.consuming(NODE_JOINED, take, durable="registry_joined"),
        bus.consuming(NODE_REVOKED, take, durable="registry_revoked"),
    ):
        token = await stage.token(name="web", groups=["eu"], tags={"env": "prod"})
        node = (await stage.join(token.secret)).node
        with pytest.raises(Conflict):
            await stage.join(token.secret)
        await revoke(stage, node, "sold")
        await revoke(stage, node, "sold again")
        async with asyncio.timeout(20):
            while not (joined and revoked):
                await asyncio.sleep(0.02)
        await asyncio.sleep(1.2)  # longer than the outbox waits
    assert [(f.id, f.name, f.groups, f.tags) for f in joined] == [
        (node, "web", ["eu"], {"env": "prod"})
    ]
    assert [(f.id, f.by, f.reason) for f in revoked] == [(node, "admin", "sold")]
    assert len(await stage.audit(action="node.revoke")) == 1


async def test_a_node_renews_its_credentials(stage: Stage) -> None:
    """For the key that it has, under its own name; only it can."""
    node = await stage.node()
    stage.clock.ahead = timedelta(days=20)
    async with stage.broker.connect(node) as bus:
        renewed = await bus.ask(RENEW, RenewJwt(), node=node)
        said = natsjwt.claims(renewed.jwt)
        assert said["name"] == node
        assert said["exp"] - stage.clock().timestamp() == pytest.approx(30 * 86400, abs=5)
        with pytest.raises(MusterError):
            await bus.ask(RENEW, RenewJwt(), node=new_node_id(), timeout=0.5)


@REFUSED
async def test_a_revoked_node_is_cut_at_once_and_stays_out(backstage: Stage) -> None:
    """Within a second, through restarts of authority and broker; the others are not touched."""
    stage, loop = backstage, asyncio.get_running_loop()
    async with stage.playing():
        out, stays = await stage.node(), await stage.node()
        async with stage.broker.connect(out) as cut, stage.broker.connect(stays) as other:
            begun = loop.time()
            await revoke(stage, out)
            await gone(cut, 10)
            assert loop.time() - begun < 1
            assert other.connected
            await asyncio.to_thread(stage.broker.restart)  # with the configuration of before
            async with asyncio.timeout(30):
                while not other.connected:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(1)
            assert not cut.connected
    async with stage.playing(), stage.broker.connect(stays):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), stage.broker.connect(out):
                pass


@REFUSED
async def test_many_are_revoked_at_the_same_time(stage: Stage) -> None:
    """No push forgets what another one has pushed."""
    nodes = [await stage.node() for _ in range(6)]
    lines = [stage.broker.connect(node) for node in nodes]
    opened = [await line.__aenter__() for line in lines]
    try:
        await asyncio.gather(*(revoke(stage, node) for node in nodes))
        for bus in opened:
            await gone(bus, 10)
        await asyncio.sleep(1)
        assert not any(bus.connected for bus in opened)
    finally:
        for line in lines:
            await line.__aexit__(None, None, None)
    said = natsjwt.claims(stage.broker.world.current_account_jwt())["nats"]
    assert len(said["revocations"]) == 6


@REFUSED
async def test_a_revocation_reaches_a_broker_that_was_away(stage: Stage) -> None:
    """Who revokes is told that it did not arrive; it is written down, and is pushed later."""
    node = await stage.node()
    await asyncio.to_thread(stage.broker.kill)
    with pytest.raises(MusterError):
        await revoke(stage, node)
    await asyncio.to_thread(stage.broker.start)
    async with asyncio.timeout(30):
        while not stage.client.connected:
            await asyncio.sleep(0.02)
    await revoke(stage, node)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), stage.broker.connect(node):
            pass


async def test_a_revoked_node_gets_no_credentials(stage: Stage) -> None:
    """Not by renewing, and nothing is done for a node that never was."""
    node = await stage.node()
    async with stage.broker.connect("gateway"):
        with pytest.raises(NotFound):
            await revoke(stage, new_node_id())
        ticket = stage.broker.ticket("node.read")
        with pytest.raises(Denied):
            await stage.client.ask(REVOKE_NODE, RevokeNode(node=node), ticket=ticket)


async def test_only_who_may_makes_tokens(stage: Stage) -> None:
    """The permission is node.join; a revoked token's id must be an id."""
    with pytest.raises(Denied):
        await stage.client.ask(LIST_JOIN_TOKENS, NOTHING, ticket=stage.broker.ticket("node.read"))
    ask = RevokeJoinToken(id=new_id())
    with pytest.raises(NotFound):
        await stage.client.ask(REVOKE_JOIN_TOKEN, ask, ticket=stage.broker.ticket("node.join"))
