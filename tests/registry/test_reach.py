"""Who may see and change which nodes: the others do not exist for them."""

import asyncio
from typing import Any

import pytest

from muster.contracts.base import NOTHING
from muster.contracts.errors import Conflict, Denied, NotFound
from muster.contracts.nodes import (
    FIND_NODE,
    FLEET_STATS,
    GROUP_NODE,
    LIST_NODES,
    NODE_FACTS,
    NODES_SINCE,
    REACH,
    READ_METRICS,
    RENAME_NODE,
    RESOLVE,
    TAG_NODE,
    AskReach,
    FindNode,
    GroupNode,
    ListNodes,
    NodesSince,
    Reach,
    ReadMetrics,
    RenameNode,
    TagNode,
    Targets,
    WhichNodes,
)
from muster.kit.bus import Bus
from tests.registry.conftest import Stage

WEB = "@web"


async def ask(stage: Stage, call: Any, question: Any, nodes: str = WEB) -> Any:
    """Ask as somebody who may do everything with some nodes."""
    ticket = stage.broker.ticket("node.*", "run.read", nodes=nodes)
    return await stage.client.ask(call, question, ticket=ticket)


async def test_other_peoples_nodes_do_not_exist(stage: Stage) -> None:
    """In no list, number, target or search; and a name is not confirmed by its refusal."""
    web, db = await stage.join("web", groups=["web"]), await stage.join("db", groups=["db"])
    page = await ask(stage, LIST_NODES, ListNodes())
    assert [node.name for node in page.items] == ["web"]
    assert (await ask(stage, FLEET_STATS, NOTHING)).nodes == 1
    now = page.items[0].joined
    for question in ("db", db, "dbb"):
        for call, wanted in (
            (FIND_NODE, FindNode(node=question)),
            (RESOLVE, Targets(names=[question])),
            (RESOLVE, Targets(selector=f"web or {question}")),
            (READ_METRICS, ReadMetrics(node=question, start=now, end=now.replace(year=2100))),
            (RENAME_NODE, RenameNode(node=question, name="mine")),
            (TAG_NODE, TagNode(node=question, put={"a": "b"})),
            (GROUP_NODE, GroupNode(node=question, add=["web"])),
        ):
            with pytest.raises(NotFound, match=f"^no such node: {question}$"):
                await ask(stage, call, wanted)
    assert [one.id for one in (await ask(stage, RESOLVE, Targets(all=True))).items] == [web]
    assert [one.id for one in (await ask(stage, RESOLVE, Targets(selector="not x*"))).items] == [
        web
    ]
    with pytest.raises(NotFound, match="no node fits"):
        await ask(stage, RESOLVE, Targets(selector="@db"))
    with pytest.raises(NotFound, match="no node"):
        await ask(stage, RESOLVE, Targets(all=True), nodes="@nobody")


async def test_what_may_be_changed_is_narrower_than_what_may_be_seen(stage: Stage) -> None:
    """Seeing all and writing some: the refusal says so; no node is pushed out of one's reach."""
    await stage.join("web", groups=["web"])
    await stage.join("db", groups=["db"])
    wide = stage.broker.ticket("node.read")
    with pytest.raises(Denied):
        await stage.client.ask(TAG_NODE, TagNode(node="db", put={"a": "b"}), ticket=wide)
    for call, question in (
        (GROUP_NODE, GroupNode(node="web", remove=["web"])),
        (RENAME_NODE, RenameNode(node="web", name="db2")),
    ):
        nodes = WEB if call is GROUP_NODE else "web*"
        with pytest.raises(Denied, match="may not node.write on"):
            await ask(stage, call, question, nodes=nodes)
    assert (await ask(stage, FIND_NODE, FindNode(node="web"))).groups == ["web"]
    await ask(stage, GROUP_NODE, GroupNode(node="web", add=["front"]))
    await ask(stage, TAG_NODE, TagNode(node="web", put={"role": "www"}))


async def test_changes_are_told_to_who_may_see_them(stage: Stage) -> None:
    """A node that leaves the reach is told as gone; one that was never in it is not told."""
    registry = stage.registry
    assert registry
    web, db = await stage.join("web", groups=["web"]), await stage.join("db", groups=["db"])
    epoch, mark = registry.picture.epoch, registry.picture.seq

    async def since() -> tuple[list[str], list[str]]:
        nonlocal mark
        told = await ask(stage, NODES_SINCE, NodesSince(epoch=epoch, after=mark))
        mark = told.seq
        return [node.id for node in told.items], told.gone

    assert await since() == ([], [])
    await ask(stage, TAG_NODE, TagNode(node="db", put={"a": "b"}), nodes="all")
    assert await since() == ([], [db])  # an opaque id, because it may have been seen before
    await ask(stage, TAG_NODE, TagNode(node="web", put={"a": "b"}))
    assert await since() == ([web], [])
    await ask(stage, GROUP_NODE, GroupNode(node="db", add=["web"]), nodes="all")
    assert await since() == ([db], [])
    await ask(stage, GROUP_NODE, GroupNode(node="web", remove=["web"]), nodes="all")
    assert await since() == ([], [web])
    assert await since() == ([], [])
    assert mark == registry.picture.seq


async def test_the_services_are_told_what_grants_go_by(stage: Stage) -> None:
    """Names, groups and tags of who exists; and where a ticket reaches."""
    web = await stage.join("web", groups=["web"], tags={"role": "www"})
    known = await stage.authority.ask(NODE_FACTS, WhichNodes(nodes=[web, "n" + "a" * 16]))
    assert [(one.name, one.groups, one.tags) for one in known.items] == [
        ("web", ["web"], {"role": "www"})
    ]
    async with stage.broker.connect("scheduler") as scheduler:
        await _reaches(stage, scheduler, web)


async def _reaches(stage: Stage, bus: Bus, web: str) -> None:
    async def reach_of(action: str, nodes: str) -> Reach:
        ticket = stage.broker.ticket("node.*", "run.read", nodes=nodes)
        return await bus.ask(REACH, AskReach(action=action), ticket=ticket)

    reach = await reach_of("run.read", WEB)
    assert (reach.everywhere, reach.nodes) == (False, [web])
    assert (await reach_of("run.create", WEB)).nodes == []
    assert (await reach_of("run.read", "all")).everywhere


@pytest.mark.parametrize("word", ["all", "and", "or", "not", "in"])
async def test_no_node_is_called_like_a_word_of_selectors(stage: Stage, word: str) -> None:
    """Or `all` would be one node, or every node, depending on who reads it."""
    node = await stage.join(name=word)
    assert (await stage.find(node)).name == f"{word}-2"
    assert (await stage.find(await stage.join(word))).name == "node"
    with pytest.raises(Conflict, match="word of selectors"):
        await ask(stage, RENAME_NODE, RenameNode(node=node, name=word), nodes="all")


async def test_many_changes_at_once_are_all_seen(stage: Stage) -> None:
    """Who may see all hears every one of them, in the end."""
    await asyncio.gather(*(stage.join(f"web{n}", groups=["web"]) for n in range(10)))
    assert len((await ask(stage, LIST_NODES, ListNodes())).items) == 10
