"""Who may see what of runs; and what happens to a command when its creator loses the right."""

import asyncio
from typing import Any

import pytest

from muster.contracts.errors import NotFound
from muster.contracts.people import RightsChanged
from muster.contracts.runs import (
    CANCEL_RUN,
    GET_RUN,
    LIST_FILES,
    LIST_RUNS,
    READ_FILE,
    READ_OUTPUT,
    RUN_EVENTS,
    CancelRun,
    GetRun,
    ListFiles,
    ListRuns,
    ReadFile,
    ReadOutput,
    RunEventsAfter,
    State,
    Stream,
)
from tests.scheduler.conftest import Node, Stage


async def ask(stage: Stage, node: Node, call: Any, question: Any) -> Any:
    """Ask as somebody who may read and run on one node."""
    ticket = stage.broker.ticket("run.read", "run.create", name="li", nodes=node.id)
    return await stage.client.ask(call, question, ticket=ticket)


async def test_a_run_is_seen_as_far_as_its_nodes_are(stage: Stage) -> None:
    """Targets, counts, events and output of one's own nodes; the rest does not exist."""
    async with stage.node().online() as mine, stage.node().online() as other:
        both, theirs = await stage.run(mine, other), await stage.run(other)
        for run in (both, theirs):
            await other.report(run.id, State.DONE, b"secret", exit=0)
        await mine.report(both.id, State.FAILED, b"open", exit=1)
        view = await ask(stage, mine, GET_RUN, GetRun(run=both.id))
        assert [one.node for one in view.targets] == [mine.id]
        assert view.counts == {State.FAILED: 1}
        listed = (await ask(stage, mine, LIST_RUNS, ListRuns())).items
        assert [(one.id, one.counts) for one in listed] == [(both.id, {State.FAILED: 1})]
        events = await ask(stage, mine, RUN_EVENTS, RunEventsAfter(run=both.id))
        assert {one.target.node for one in events.items} == {mine.id}
        assert b"secret" not in events.model_dump_json().encode()
        assert events.seq == (await stage.get(both.id)).seq
        here = ReadOutput(run=both.id, node=mine.id, stream=Stream.OUT)
        assert (await ask(stage, mine, READ_OUTPUT, here)).data == b"open"
        hidden: list[tuple[Any, Any]] = [
            (GET_RUN, GetRun(run=theirs.id)),
            (GET_RUN, GetRun(run=theirs.id, wait=1)),
            (RUN_EVENTS, RunEventsAfter(run=theirs.id)),
            (CANCEL_RUN, CancelRun(run=theirs.id)),
            (READ_OUTPUT, here.model_copy(update={"node": other.id})),
            (LIST_FILES, ListFiles(run=both.id, node=other.id)),
            (READ_FILE, ReadFile(run=both.id, node=other.id, path="stdout", output=True)),
        ]
        for call, question in hidden:
            with pytest.raises(NotFound):
                await ask(stage, mine, call, question)


async def test_pages_are_full_although_most_runs_are_hidden(stage: Stage) -> None:
    """Every visible run is on exactly one page."""
    mine, other = stage.node(), stage.node()
    visible = []
    for number in range(60):
        run = await stage.run(other if number % 6 else mine)
        if number % 6 == 0:
            visible.append(run.id)
    seen: list[str] = []
    before = ""
    while True:
        page = await ask(stage, mine, LIST_RUNS, ListRuns(limit=3, before=before))
        seen += [one.id for one in page.items]
        before = page.next
        if not before:
            break
    assert seen == visible[::-1]


async def test_what_waits_for_a_node_is_refused_when_the_right_is_lost(stage: Stage) -> None:
    """At once when the rights change; what is under way on a node goes on."""
    scheduler = stage.scheduler
    assert scheduler
    away = stage.node()
    async with stage.node().online() as there:
        run = await stage.run(away, there)
        await stage.state(run.id, away, State.QUEUED)
        await there.report(run.id, State.STARTED)
        stage.signer.refused = {away.id, there.id}
        scheduler.bus.rights.heard(RightsChanged(revision=1, names=["li"]))
        await asyncio.sleep(0.5)
        assert (await stage.get(run.id)).counts == {State.QUEUED: 1, State.STARTED: 1}
        scheduler.bus.rights.heard(RightsChanged(revision=2, names=["admin"]))
        view = await stage.state(run.id, away, State.REFUSED, seconds=2)
        reasons = {one.node: one.reason for one in view.targets}
        assert reasons == {away.id: "not allowed any more: no more", there.id: ""}
        await there.report(run.id, State.DONE, exit=0)
        assert (await stage.get(run.id)).over
    async with away.online():
        assert (await away.sync()).commands == []


async def test_the_right_is_looked_at_again_when_the_node_comes(stage: Stage) -> None:
    """A change that nobody told, such as a node that left its group, counts as well."""
    away = stage.node()
    run, later = await stage.run(away), None
    await stage.state(run.id, away, State.QUEUED)
    stage.signer.refused = {away.id}
    async with away.online():
        assert (await away.sync()).commands == []
        view = await stage.state(run.id, away, State.REFUSED)
        assert view.over
        stage.signer.refused = set()
        later = await stage.run(away)
        assert (await away.command()).run == later.id


async def test_many_who_wait_are_refused_when_everyones_rights_change(stage: Stage) -> None:
    """A role that thousands have is one change."""
    scheduler = stage.scheduler
    assert scheduler
    nodes = [stage.node() for _ in range(20)]
    run = await stage.run(*nodes)
    await stage.until(run.id, lambda view: view.counts == {State.QUEUED: 20})
    stage.signer.refused = {node.id for node in nodes[:15]}
    scheduler.bus.rights.heard(RightsChanged(revision=9, everyone=True))
    await stage.until(
        run.id, lambda view: view.counts == {State.QUEUED: 5, State.REFUSED: 15}, seconds=3
    )
