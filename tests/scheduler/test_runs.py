"""Every run ends, every target in exactly one state, whatever nodes and networks do."""

import asyncio
from datetime import timedelta

import pytest

from muster.contracts.errors import Conflict, Denied, NotFound, TooLarge, TooMany
from muster.contracts.names import new_id
from muster.contracts.nodes import Targets
from muster.contracts.runs import (
    CANCEL_RUN,
    CREATE_RUN,
    LIST_RUNS,
    READ_OUTPUT,
    RUN_EVENTS,
    CancelRun,
    Command,
    CreateRun,
    ListRuns,
    Piece,
    ReadOutput,
    RunEvent,
    RunEventsAfter,
    State,
    Stream,
)
from muster.kit.bus import Raw
from muster.scheduler import store, syncing
from tests.scheduler.conftest import Stage


async def test_a_run_is_done(stage: Stage) -> None:
    """Accepted, sent, reported: the state, the output and the times are kept."""
    async with stage.node().online() as node:
        run = await stage.run(node, note="first light")
        assert run.counts == {State.ACCEPTED: 1}
        sent = await node.command()
        assert (sent.run, sent.verb, sent.caller) == (run.id, "run", "admin")
        assert Command.model_validate_json(node.got[0][1]).argv == ["true"]
        await node.report(run.id, State.DONE, b"hello\n", exit=0)
        view = await stage.get(run.id, wait=5)
        assert view.over
        assert view.note == "first light"
        target = view.targets[0]
        assert (target.state, target.exit, target.stdout) == (State.DONE, 0, 6)
        ask = ReadOutput(run=run.id, node=node.id, stream=Stream.OUT)
        output = await stage.client.ask(READ_OUTPUT, ask, ticket=stage.broker.ticket())
        assert (output.data, output.end) == (b"hello\n", True)


async def test_a_node_that_is_away_is_queued_and_gets_it_later(stage: Stage) -> None:
    """Queued within a second; delivered when the node asks; done."""
    node = stage.node()
    run = await stage.run(node)
    view = await stage.state(run.id, node, State.QUEUED, seconds=3)
    assert view.targets[0].sent is None
    async with node.online():
        answer = await node.sync()
        assert len(answer.commands) == 1
        await node.report(run.id, State.DONE, exit=0)
        assert (await stage.get(run.id)).targets[0].state is State.DONE
        assert (await node.sync()).commands == []


async def test_what_waits_too_long_expires(stage: Stage) -> None:
    """After the given time a queued target is over, and is never delivered."""
    node = stage.node()
    run = await stage.run(node, expires_in=0.7)
    view = await stage.state(run.id, node, State.EXPIRED)
    assert view.over
    async with node.online():
        assert (await node.sync()).commands == []


async def test_a_silent_node_gets_it_again(stage: Stage) -> None:
    """What is not confirmed is sent again; the agent's journal makes that harmless."""
    async with stage.node().online() as node:
        run = await stage.run(node)
        first, second = await node.command(number=0), await node.command(number=1)
        assert first.id == second.id
        assert (await stage.get(run.id)).targets[0].state is State.SENT
        await node.report(run.id, State.STARTED)
        count = len(node.got)
        await asyncio.sleep(1.5)
        assert len(node.got) == count


async def test_what_may_have_arrived_is_lost_not_expired(stage: Stage) -> None:
    """A node that took a command and never answers ends as lost: nobody knows if it ran."""
    async with stage.node().online() as node:
        run = await stage.run(node, expires_in=0.5)
        await node.command()
        await stage.state(run.id, node, State.SENT)
    view = await stage.state(run.id, node, State.LOST)
    assert view.over


async def test_a_repeated_report_changes_nothing(stage: Stage) -> None:
    """States, output and event numbers are the same however often the agent tells them."""
    async with stage.node().online() as node:
        run = await stage.run(node)
        for _ in range(3):
            await node.report(run.id, State.DONE, b"once\n", exit=3)
        view = await stage.get(run.id)
        assert view.seq == view.targets[0].seq
        ask = RunEventsAfter(run=run.id)
        events = await stage.client.ask(RUN_EVENTS, ask, ticket=stage.broker.ticket())
        assert [piece.data for event in events.items for piece in event.pieces] == [b"once\n"]


async def test_a_final_state_stands(stage: Stage) -> None:
    """Nothing that comes later changes an end."""
    async with stage.node().online() as node:
        run = await stage.run(node)
        await node.report(run.id, State.FAILED, exit=1)
        for state in (State.DONE, State.STARTED, State.INTERRUPTED):
            await node.report(run.id, state, exit=0)
        target = (await stage.get(run.id)).targets[0]
        assert (target.state, target.exit) == (State.FAILED, 1)


@pytest.mark.parametrize(
    "state", [State.ACCEPTED, State.QUEUED, State.SENT, State.EXPIRED, State.LOST]
)
async def test_a_node_cannot_tell_our_states(stage: Stage, state: State) -> None:
    """Queued, expired, lost are ours to say."""
    async with stage.node().online() as node:
        run = await stage.run(node)
        await node.command()
        await node.report(run.id, State.STARTED)
        await node.report(run.id, state)
        assert (await stage.get(run.id)).targets[0].state is State.STARTED


async def test_a_node_cannot_speak_for_a_run_that_is_not_its_own(stage: Stage) -> None:
    """A forged report is dropped, and the next honest one is taken."""
    async with stage.node().online() as good, stage.node().online() as evil:
        run = await stage.run(good)
        await evil.report(run.id, State.DONE, b"forged", exit=0)
        await evil.report(new_id(), State.DONE, exit=0)
        assert (await stage.get(run.id)).targets[0].state is not State.DONE
        await good.report(run.id, State.FAILED, exit=9)
        assert (await stage.get(run.id)).targets[0].exit == 9


async def test_garbage_on_every_subject_of_nodes_hurts_nobody(stage: Stage) -> None:
    """After 1,000 messages that make no sense the next good one is taken, a second later."""
    async with stage.node().online() as node:
        run = await stage.run(node)
        assert node.bus
        for number in range(500):
            for call in ("report", "sync"):
                body = bytes([number % 256]) * (number % 53)
                await node.bus.send(f"muster.svc.scheduler.{call}.{node.id}", body)
        with pytest.raises(TooMany):
            await node.report(run.id, State.DONE, exit=0)
        await asyncio.sleep(1)
        await node.report(run.id, State.DONE, exit=0)
        assert (await stage.get(run.id)).over


async def test_who_waits_for_what_has_just_ended_does_not_wait(stage: Stage) -> None:
    """It may have ended after it was read, and before there was anybody to be told."""
    async with stage.node().online() as node:
        run = await stage.run(node)
        await node.report(run.id, State.DONE, exit=0)
        assert stage.scheduler
        async with asyncio.timeout(2):
            await stage.scheduler.keeper.finish(run.id, 20)


async def test_cancelling_what_is_queued_is_done_at_once(stage: Stage) -> None:
    """It never left, so it is over, and the node never gets it."""
    node = stage.node()
    run = await stage.run(node)
    await stage.state(run.id, node, State.QUEUED)
    ask = CancelRun(run=run.id)
    view = await stage.client.ask(CANCEL_RUN, ask, ticket=stage.broker.ticket())
    assert view.targets[0].state is State.CANCELLED
    async with node.online():
        assert (await node.sync()).commands == []


async def test_cancelling_what_runs_is_a_signed_order(stage: Stage) -> None:
    """The node gets the order, and its answer is the state; away, it gets it when it is back."""
    async with stage.node().online() as node:
        run = await stage.run(node)
        await node.report(run.id, State.STARTED)
    await stage.client.ask(CANCEL_RUN, CancelRun(run=run.id), ticket=stage.broker.ticket())
    assert (await stage.get(run.id)).targets[0].state is State.STARTED
    async with node.online():
        answer = await node.sync()
        assert len(answer.commands) == 1
        assert b'"verb":"cancel"' in answer.commands[0]
        await node.report(run.id, State.CANCELLED)
        assert (await stage.get(run.id)).targets[0].state is State.CANCELLED
        assert (await node.sync()).commands == []


async def test_an_order_to_cancel_arrives_at_once(stage: Stage) -> None:
    """A connected node hears it without asking."""
    async with stage.node().online() as node:
        run = await stage.run(node)
        await node.report(run.id, State.STARTED)
        await stage.client.ask(CANCEL_RUN, CancelRun(run=run.id), ticket=stage.broker.ticket())
        assert (await node.command("cancel")).run == run.id


async def test_a_journal_that_was_lost_is_said(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that no longer knows what it had begun: the target is lost, not open for ever."""
    monkeypatch.setattr(syncing, "SETTLING", timedelta(0))
    async with stage.node().online() as node:
        run = await stage.run(node)
        await node.report(run.id, State.STARTED)
        node.journal.clear()
        await node.sync()
        assert (await stage.get(run.id)).targets[0].state is State.LOST


async def test_the_same_key_is_the_same_run(stage: Stage) -> None:
    """Ten at once with one key: one run; another command with it: a conflict."""
    node = stage.node()
    runs = await asyncio.gather(*(stage.run(node, key="once") for _ in range(10)))
    assert len({run.id for run in runs}) == 1
    with pytest.raises(Conflict, match="another command"):
        await stage.run(node, key="once", command=Command(argv=["false"]))


async def test_a_crash_between_accepting_and_sending_loses_nothing(backstage: Stage) -> None:
    """What was committed is sent by the next process."""
    async with backstage.node().online() as node:
        async with backstage.playing() as scheduler:

            async def nothing(commands: object) -> None:
                """Stand for the crash: the process ends before it sends."""

            scheduler.dispatcher.begin = nothing  # type: ignore[method-assign]
            run = await backstage.run(node)
        assert node.got == []
        async with backstage.playing():
            assert (await node.command()).run == run.id
            await node.report(run.id, State.DONE, exit=0)
            assert (await backstage.get(run.id)).over


async def test_a_broker_that_dies_in_the_middle_loses_nothing(stage: Stage) -> None:
    """Killed between sending and reporting: node and scheduler find each other again."""
    async with stage.node().online() as node:
        run = await stage.run(node)
        await node.command()
        stage.broker.kill()
        await asyncio.to_thread(stage.broker.start)
        await node.report(run.id, State.DONE, b"after\n", exit=0)
        assert (await stage.get(run.id, wait=5)).over


async def test_the_end_of_a_run_is_told_once(stage: Stage) -> None:
    """One durable fact per run, after the last of its nodes."""
    async with stage.node().online() as one, stage.node().online() as two:
        run = await stage.run(one, two)
        for node in (one, two, two, one):
            await node.report(run.id, State.DONE, exit=0)
        js = stage.scheduler.bus.client.jetstream()  # type: ignore[union-attr]
        async with asyncio.timeout(10):
            while (await js.stream_info("FACTS")).state.messages < 1:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        assert (await js.stream_info("FACTS")).state.messages == 1


async def test_live_events_have_dense_numbers(stage: Stage) -> None:
    """Whoever listens sees each number once, in order, and the same as the history."""
    heard: list[bytes] = []

    async def take(message: Raw) -> None:
        heard.append(message.data)

    async with (
        stage.client.hearing("muster.live.scheduler.run.*", take),
        stage.node().online() as one,
        stage.node().online() as two,
    ):
        run = await stage.run(one, two)
        for node in (one, two):
            await node.report(run.id, State.STARTED, b"a")
            await node.report(run.id, State.DONE, b"a", exit=0)
        await asyncio.sleep(0.3)
        events = [RunEvent.model_validate_json(data) for data in heard]
        last = (await stage.get(run.id)).seq
        assert [event.seq for event in events] == list(range(1, last + 1))
        assert events[-1].finished


async def test_output_beyond_the_cap_keeps_head_and_tail(stage: Stage) -> None:
    """The first and the last quarter of the cap of one stream stay, byte-exact."""
    data = bytes(i % 251 for i in range(64 * 1024))
    async with stage.node().online() as node:
        run = await stage.run(node, command=Command(argv=["x"], output_cap=64 * 1024))
        for start in range(0, len(data), 4096):
            piece = Piece(stream=Stream.OUT, offset=start, data=data[start : start + 4096])
            state = State.DONE if start + 4096 == len(data) else State.STARTED
            await node.report(run.id, state, pieces=[piece], stdout=start + 4096)
        kept: dict[int, bytes] = {}
        offset = 0
        while True:
            ask = ReadOutput(run=run.id, node=node.id, stream=Stream.OUT, offset=offset)
            part = await stage.client.ask(READ_OUTPUT, ask, ticket=stage.broker.ticket())
            kept[part.offset] = part.data
            offset = part.offset + len(part.data)
            if part.end:
                break
        quarter = 16 * 1024
        assert kept == {0: data[:quarter], len(data) - quarter: data[-quarter:]}


async def test_pieces_that_cannot_be_are_dropped(stage: Stage) -> None:
    """A node cannot store what it says that it has not written."""
    async with stage.node().online() as node:
        run = await stage.run(node)
        piece = Piece(stream=Stream.OUT, offset=10**12, data=b"x")
        await node.report(run.id, State.STARTED, pieces=[piece], stdout=5)
        ask = ReadOutput(run=run.id, node=node.id, stream=Stream.OUT)
        part = await stage.client.ask(READ_OUTPUT, ask, ticket=stage.broker.ticket())
        assert part.data == b""


async def test_history_is_told_in_pages(stage: Stage) -> None:
    """From any number on, page by page, every piece comes once and the end comes last."""
    async with stage.node().online() as node:
        run = await stage.run(node)
        for number in range(20):
            piece = Piece(stream=Stream.OUT, offset=number, data=bytes([65 + number]))
            await node.report(run.id, State.STARTED, pieces=[piece], stdout=number + 1)
        await node.report(run.id, State.DONE, exit=0, stdout=20)
        told, after = b"", 0
        while True:
            ask = RunEventsAfter(run=run.id, after=after, limit=3)
            events = await stage.client.ask(RUN_EVENTS, ask, ticket=stage.broker.ticket())
            told += b"".join(piece.data for event in events.items for piece in event.pieces)
            ended = [event for event in events.items if event.target.state.final]
            after = events.seq
            if not events.more:
                break
            assert not ended
        assert told == bytes(range(65, 85))
        assert ended[-1].finished


async def test_lists_are_paged_newest_first(stage: Stage) -> None:
    """No run twice, none missed, filters work."""
    one, two = stage.node(), stage.node()
    made = [(await stage.run(node)).id for node in (one, two, one, two, one)]
    found: list[str] = []
    before = ""
    while True:
        ask = ListRuns(limit=2, before=before)
        page = await stage.client.ask(LIST_RUNS, ask, ticket=stage.broker.ticket())
        found += [run.id for run in page.items]
        before = page.next
        if not before:
            break
    assert found == made[::-1]
    page = await stage.client.ask(
        LIST_RUNS, ListRuns(node=two.id, active=True), ticket=stage.broker.ticket()
    )
    assert [run.id for run in page.items] == [made[3], made[1]]


async def test_what_is_not_there_is_said(stage: Stage) -> None:
    """Unknown and ambiguous runs, and commands that are too large."""
    with pytest.raises(NotFound):
        await stage.get("7zzzzzzz")
    node = stage.node()
    one, two = await stage.run(node), await stage.run(node)
    with pytest.raises(Conflict, match="several"):
        await stage.get(one.id[:6])
    assert (await stage.get(two.id[:26])).id == two.id
    with pytest.raises(TooLarge):
        await stage.run(node, command=Command(argv=["cat"], stdin=b"x" * 500_000))


async def test_only_who_may_can_run(stage: Stage) -> None:
    """A ticket without the permission is refused before anything happens."""
    node = stage.node()
    ask = CreateRun(command=Command(argv=["true"]), targets=Targets(names=[node.id]))
    with pytest.raises(Denied):
        await stage.client.ask(CREATE_RUN, ask, ticket=stage.broker.ticket("run.read"))


async def test_old_runs_are_forgotten(stage: Stage) -> None:
    """Runs that ended long ago go, with targets and output; open ones stay."""
    async with stage.node().online() as node:
        over = await stage.run(node)
        await node.report(over.id, State.DONE, b"x", exit=0)
    waiting = await stage.run(stage.node())
    assert stage.scheduler
    db = stage.scheduler._db  # noqa: SLF001
    assert await db.write(lambda conn: store.forget(conn, "z")) == 1
    with pytest.raises(NotFound):
        await stage.get(over.id)
    assert (await stage.get(waiting.id)).id == waiting.id
