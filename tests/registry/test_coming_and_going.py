"""Who is there: real processes, killed and frozen, over a real broker."""

import asyncio
import os
import signal

import pytest

from muster.contracts.errors import MusterError
from muster.contracts.nodes import NodeState
from muster.kit.client import Credentials
from muster.registry.watching import Watch
from tests.registry.conftest import Stage, beat

ONLINE, OFFLINE = NodeState.ONLINE, NodeState.OFFLINE

pytestmark = pytest.mark.timeout(120)


async def test_a_killed_node_is_offline_at_once(stage: Stage) -> None:
    """Within a second, with the broker's reason; and online again as soon as it is back."""
    node = await stage.join()
    process = stage.process(node)
    await stage.state(node, ONLINE)
    os.kill(process.pid, signal.SIGKILL)
    found = await stage.state(node, OFFLINE, seconds=1)
    assert found.reason
    stage.process(node)
    back = await stage.state(node, ONLINE)
    assert back.reason == ""
    assert back.state_since > found.state_since


async def test_a_frozen_node_is_found_out(stage: Stage) -> None:
    """The broker's pings are not answered: offline within 15 seconds; thawed, it comes back."""
    node = await stage.join()
    process = stage.process(node)
    await stage.state(node, ONLINE)
    os.kill(process.pid, signal.SIGSTOP)
    begun = asyncio.get_running_loop().time()
    found = await stage.state(node, OFFLINE, seconds=40)
    assert asyncio.get_running_loop().time() - begun < 17
    assert "Stale" in found.reason
    os.kill(process.pid, signal.SIGCONT)
    await stage.state(node, ONLINE)


async def test_a_node_that_connects_before_it_is_known_is_online(stage: Stage) -> None:
    """The fact that it joined may come after its connection."""
    node, creds = stage.broker.node()
    stage.process(node)
    assert stage.registry
    key = Credentials.from_file(creds).key.public
    async with asyncio.timeout(30):
        while not stage.registry.presence.online(key):
            await asyncio.sleep(0.02)
    await stage.tell_joined(node)
    await stage.state(node, ONLINE)


async def test_revoked_is_for_ever(backstage: Stage) -> None:
    """Connections and heartbeats change nothing any more, nor does a restart."""
    async with backstage.playing() as registry:
        node = await backstage.join()
        await backstage.revoke(node, "sold\0")
        found = await backstage.state(node, NodeState.REVOKED)
        assert found.reason == "revoked by li: sold\\x00"
        async with backstage.broker.connect(node) as line:
            await backstage.say(line, node, beat())
            await backstage.say(line, node, beat())
            await line.flush()
            await asyncio.sleep(0.5)
            assert (await backstage.find(node)).state is NodeState.REVOKED
            await registry.beats.flush()
    async with backstage.playing():
        assert (await backstage.find(node)).state is NodeState.REVOKED


async def test_revoked_while_the_registry_was_away(backstage: Stage) -> None:
    """Both facts wait; in whatever order they are taken, the node ends revoked."""
    async with backstage.playing():
        pass  # the consumers exist now
    with pytest.raises((TimeoutError, MusterError)):
        async with asyncio.timeout(0.5):
            await backstage.join()
    node = next(p.stem for p in (backstage.broker.data_dir / "creds").glob("n*.creds"))
    await backstage.revoke(node)
    async with backstage.playing():
        await backstage.state(node, NodeState.REVOKED)


async def test_a_restarted_registry_has_the_right_picture(backstage: Stage) -> None:
    """Who came or went while it was away is there or gone as soon as it answers."""
    async with backstage.playing():
        stays, goes, comes = [await backstage.join(name) for name in ("stays", "goes", "comes")]
        backstage.process(stays)
        away = backstage.process(goes)
        since = (await backstage.state(stays, ONLINE)).state_since
        await backstage.state(goes, ONLINE)
    away.kill()
    away.wait()
    async with backstage.broker.connect(comes), backstage.playing():
        found = {name: await backstage.find(name) for name in ("stays", "goes", "comes")}
        assert {name: one.state for name, one in found.items()} == {
            "stays": ONLINE,
            "goes": OFFLINE,
            "comes": ONLINE,
        }
        assert found["stays"].state_since == since


async def test_a_restarted_broker_makes_no_ghosts(stage: Stage) -> None:
    """Who does not come back is offline after the settling; who comes back stays online."""
    stays, goes = await stage.join("stays"), await stage.join("goes")
    stage.process(stays)
    away = stage.process(goes)
    for node in (stays, goes):
        await stage.state(node, ONLINE)
    await asyncio.to_thread(stage.broker.kill)
    away.kill()
    away.wait()
    await asyncio.to_thread(stage.broker.start)
    async with asyncio.timeout(40):
        while not stage.client.connected:
            await asyncio.sleep(0.05)
    await stage.state(goes, OFFLINE)
    await stage.state(stays, ONLINE)


async def test_the_list_of_the_broker_is_read_whole(stage: Stage) -> None:
    """More nodes than fit on one of its pages, found by the list alone."""
    assert stage.registry
    node = await stage.join()
    async with asyncio.TaskGroup() as group:
        opened = asyncio.Event()
        count = [0]

        async def line(name: str) -> None:
            async with stage.broker.connect(name):
                count[0] += 1
                await opened.wait()

        try:
            for _ in range(290):
                group.create_task(line(stage.broker.node()[0]))
            group.create_task(line(node))
            async with asyncio.timeout(60):
                while count[0] < 291:
                    await asyncio.sleep(0.05)
            presence = stage.registry.presence
            known = {key for key, seen in presence._seen.items() if seen.online}  # noqa: SLF001
            presence._seen.clear()  # noqa: SLF001
            async with stage.broker.connect("registry-sys") as system:
                account = stage.broker.world.account.public
                await Watch(system, account, presence, stage.registry.turned, 0).reconcile()
            assert known == {k for k, seen in presence._seen.items() if seen.online}  # noqa: SLF001
            assert len(known) >= 291
        finally:
            opened.set()
