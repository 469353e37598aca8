"""Runs that wait for another person: nothing leaves before, and nothing is lost after."""

from datetime import UTC, datetime

from muster.contracts.approvals import APPROVAL_DECIDED, ApprovalDecided
from muster.contracts.runs import CANCEL_RUN, CancelRun, State
from muster.kit import wire
from muster.kit.bus import Bus
from tests.scheduler.conftest import Stage


async def decide(stage: Stage, run: str, *, approved: bool, twice: bool = False) -> None:
    """Tell the decision as the authority does."""
    fact = ApprovalDecided(run=run, approved=approved, by="boss", reason="" if approved else "no")
    async with stage.broker.connect("authority") as bus:
        for number in range(1 + twice):
            await publish(bus, fact, f"{run}-{number}")


async def publish(bus: Bus, fact: ApprovalDecided, msg_id: str) -> None:
    """Publish a durable fact."""
    subject = APPROVAL_DECIDED.subject.format(fact.run)
    await bus.publish(subject, wire.pack(fact), msg_id=msg_id)


async def test_it_waits_and_begins_once(stage: Stage) -> None:
    """Nodes without a condition begin at once, the others after the approval, told twice or not."""
    async with stage.node().online() as held, stage.node().online() as free:
        stage.signer.approval = {held.id}
        run = await stage.run(held, free)
        assert {t.node: t.state for t in run.targets} == {
            held.id: State.WAITING,
            free.id: State.ACCEPTED,
        }
        await free.command()
        assert held.got == []
        assert (await held.sync()).commands == []
        await decide(stage, run.id, approved=True, twice=True)
        await held.command()
        for node in (held, free):
            await node.report(run.id, State.DONE, exit=0)
        view = await stage.until(run.id, lambda view: view.over)
        assert view.counts == {State.DONE: 2}
        assert len(held.got) == 1


async def test_refused_it_ends(stage: Stage) -> None:
    """With who and why; and so it ends where the right was lost meanwhile."""
    async with stage.node().online() as node, stage.node().online() as other:
        stage.signer.approval = {node.id, other.id}
        run = await stage.run(node)
        await decide(stage, run.id, approved=False)
        view = await stage.until(run.id, lambda view: view.over)
        assert (view.targets[0].state, view.targets[0].reason) == (
            State.REFUSED,
            "refused by boss: no",
        )
        stage.signer.refused = {other.id}
        both = await stage.run(node, other)
        await decide(stage, both.id, approved=True)
        await stage.state(both.id, other, State.REFUSED)
        await node.command()
        assert other.got == []


async def test_what_waits_can_be_cancelled_and_expires(stage: Stage) -> None:
    """At once, here: it has never left."""
    async with stage.node().online() as node:
        stage.signer.approval = {node.id}
        run = await stage.run(node)
        ticket = stage.broker.ticket()
        view = await stage.client.ask(CANCEL_RUN, CancelRun(run=run.id), ticket=ticket)
        assert view.targets[0].state is State.CANCELLED
        short = await stage.run(node, expires_in=0.5)
        view = await stage.state(short.id, node, State.EXPIRED)
        assert view.targets[0].reason == "nobody approved it in time"
        assert view.finished
        assert view.finished > datetime(2026, 1, 1, tzinfo=UTC)
        assert [envelope.verb for envelope, _ in node.got if envelope.verb == "run"] == []


async def test_a_restart_forgets_no_approval(backstage: Stage) -> None:
    """Decided while the scheduler was away, it begins when that is back."""
    async with backstage.node().online() as node:
        backstage.signer.approval = {node.id}
        async with backstage.playing():
            run = await backstage.run(node)
        await decide(backstage, run.id, approved=True)
        async with backstage.playing():
            await node.command()
