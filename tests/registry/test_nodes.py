"""Nodes as people see and change them, over the bus."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from muster.contracts.base import NOTHING
from muster.contracts.errors import Conflict, Denied, Malformed, NotFound
from muster.contracts.names import new_node_id
from muster.contracts.nodes import (
    FLEET_STATS,
    GROUP_NODE,
    LIST_NODES,
    NODES_CHANGED,
    NODES_SINCE,
    READ_METRICS,
    RENAME_NODE,
    REPORT_INVENTORY,
    RESOLVE,
    TAG_NODE,
    GroupNode,
    Inventory,
    ListNodes,
    Node,
    NodeChanges,
    NodesSince,
    NodeState,
    ReadMetrics,
    RenameNode,
    TagNode,
    Targets,
)
from muster.registry import store
from tests.registry.conftest import Stage, beat


async def ask(stage: Stage, call: Any, question: Any) -> Any:
    """Ask as somebody who may do everything with nodes."""
    return await stage.client.ask(call, question, ticket=stage.broker.ticket("node.*"))


async def test_a_joined_node_is_there(stage: Stage) -> None:
    """New, under its host's name, with what its token wished."""
    node = await stage.join("Web.Example.ORG", groups=["b", "a"], tags={"k": "v"})
    found = await stage.find("web")
    assert (found.id, found.state, found.groups, found.tags) == (
        node,
        NodeState.NEW,
        ["a", "b"],
        {"k": "v"},
    )
    stats = await ask(stage, FLEET_STATS, NOTHING)
    assert (stats.nodes, stats.new) == (1, 1)


@pytest.mark.parametrize("hostname", ["", "***", "\x1b[2J\u202e", "漢字", "a" * 253, "-_-"])
async def test_every_host_gets_a_name(stage: Stage, hostname: str) -> None:
    """Whatever it calls itself, twice."""
    found = [await stage.find(await stage.join(hostname)) for _ in range(2)]
    assert found[1].name == f"{found[0].name}-2"


async def test_a_wished_name_may_be_as_long_as_names_are(stage: Stage) -> None:
    """The second one is cut, not lost."""
    names = [(await stage.find(await stage.join(name="a" * 63))).name for _ in range(2)]
    assert names == ["a" * 63, "a" * 61 + "-2"]


async def test_a_name_is_changed_but_not_taken_away(stage: Stage) -> None:
    """Another node's name or id is refused, and the old name is free again."""
    web, other = await stage.join("web"), await stage.join("db")
    await ask(stage, RENAME_NODE, RenameNode(node="web", name="front"))
    assert (await stage.find("front")).id == web
    for taken in ("db", other):
        with pytest.raises(Conflict, match="taken"):
            await ask(stage, RENAME_NODE, RenameNode(node=web, name=taken))
    with pytest.raises(NotFound, match="did you mean front"):
        await ask(stage, RENAME_NODE, RenameNode(node="frond", name="x"))
    with pytest.raises(NotFound):
        await stage.find("web")
    await ask(stage, RENAME_NODE, RenameNode(node=other, name="web"))
    wishes = [RenameNode(node=one, name="same") for one in (web, other)]
    done = await asyncio.gather(
        *(ask(stage, RENAME_NODE, w) for w in wishes), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in done) == ["Conflict", "Node"]


async def test_tags_and_groups_of_many_people_at_once(stage: Stage) -> None:
    """Nobody's change is lost, and all are there after a restart."""
    node = await stage.join()
    tags = [TagNode(node="web", put={f"k{n}": "v"}) for n in range(20)]
    groups = [GroupNode(node=node, add=[f"g{n}"]) for n in range(20)]
    await asyncio.gather(
        *(ask(stage, TAG_NODE, one) for one in tags),
        *(ask(stage, GROUP_NODE, one) for one in groups),
    )
    await ask(stage, TAG_NODE, TagNode(node="web", put={"k0": "new"}, remove=["k1", "none"]))
    found = await ask(stage, GROUP_NODE, GroupNode(node="web", remove=["g0"]))
    assert len(found.tags) == 19
    assert len(found.groups) == 19
    assert stage.registry
    [kept] = await stage.registry._db.read(store.load)  # noqa: SLF001
    assert (kept.tags, kept.groups) == (found.tags, found.groups)


async def test_each_question_needs_its_right(stage: Stage) -> None:
    """Reading does not write."""
    await stage.join()
    ticket = stage.broker.ticket("node.read")
    writing: list[tuple[Any, Any]] = [
        (RENAME_NODE, RenameNode(node="web", name="x")),
        (TAG_NODE, TagNode(node="web")),
        (GROUP_NODE, GroupNode(node="web")),
    ]
    for call, question in writing:
        with pytest.raises(Denied):
            await stage.client.ask(call, question, ticket=ticket)
    with pytest.raises(Denied):
        await stage.client.ask(LIST_NODES, ListNodes(), ticket=stage.broker.ticket("run.*"))
    resolved = await stage.client.ask(RESOLVE, Targets(all=True), ticket=ticket)
    assert [one.name for one in resolved.items] == ["web"]


async def test_a_node_tells_what_it_is(stage: Stage) -> None:
    """Only of itself, only when it is known; it is there after a restart of the registry."""
    node, stranger = await stage.join(), stage.broker.node()[0]
    told = Inventory(hostname="web\0\x1b", os="Debian", cores=64)
    async with stage.broker.connect(node) as line, stage.broker.connect(stranger) as other:
        await line.ask(REPORT_INVENTORY, told, node=node)
        await line.ask(REPORT_INVENTORY, told, node=node)
        with pytest.raises(NotFound):
            await other.ask(REPORT_INVENTORY, told, node=stranger)
    assert (await stage.find(node)).inventory == told


async def test_history_is_told(stage: Stage) -> None:
    """Of a time that was asked for; a time that runs backwards is refused."""
    node, now = await stage.join(), datetime.now(UTC)
    async with stage.broker.connect(node) as line:
        await stage.say(line, node, beat())
        await stage.until(node, lambda found: found.metrics is not None)
    assert stage.registry
    await stage.registry.beats.flush()
    span = ReadMetrics(node="web", start=now - timedelta(hours=1), end=now + timedelta(hours=1))
    history = await ask(stage, READ_METRICS, span)
    assert [item.metrics.cpu for item in history.items] == [12.5]
    with pytest.raises(Malformed):
        await ask(stage, READ_METRICS, ReadMetrics(node=node, start=now, end=now))
    with pytest.raises(NotFound):
        await ask(
            stage, READ_METRICS, ReadMetrics(node=new_node_id(), start=now, end=now + timedelta(1))
        )


async def test_live_changes_and_catching_up_agree(stage: Stage) -> None:
    """Who hears every message and who asks since a number end with the same picture."""
    heard: dict[str, Node] = {}
    last = [0]

    async def hear(changes: NodeChanges, _: tuple[str, ...]) -> None:
        assert changes.seq >= last[0]
        assert all(node.seq <= changes.seq for node in changes.items)
        last[0] = changes.seq
        heard.update({node.id: node for node in changes.items})

    assert stage.registry
    epoch = stage.registry.picture.epoch
    async with stage.client.listening(NODES_CHANGED, hear):
        names = [await stage.join(f"n{n}") for n in range(12)]
        for n, name in enumerate(names * 5):
            await ask(stage, TAG_NODE, TagNode(node=name, put={"n": str(n)}))
        seq = stage.registry.picture.seq
        async with asyncio.timeout(20):
            while last[0] < seq:
                await asyncio.sleep(0.02)
    caught: dict[str, Node] = {}
    after, more = 0, True
    while more:
        told = await ask(stage, NODES_SINCE, NodesSince(epoch=epoch, after=after, limit=5))
        caught.update({node.id: node for node in told.items})
        after, more = told.seq, told.more
    assert caught == heard
    assert {node.tags["n"] for node in caught.values()} == {str(n) for n in range(48, 60)}
    nothing = await ask(stage, NODES_SINCE, NodesSince(epoch=epoch, after=after))
    assert (nothing.items, nothing.seq, nothing.more) == ([], seq, False)


async def test_a_reader_of_another_epoch_begins_anew(backstage: Stage) -> None:
    """After a restart the numbers begin again; old ones mean nothing, and that is told."""
    async with backstage.playing() as registry:
        await backstage.join()
        epoch, seq = registry.picture.epoch, registry.picture.seq
    async with backstage.playing() as registry:
        told = await ask(backstage, NODES_SINCE, NodesSince(epoch=epoch, after=seq))
        assert told.reset
        assert told.epoch == registry.picture.epoch != epoch
