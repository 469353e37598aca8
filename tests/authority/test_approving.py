"""Four eyes: what one person wants is signed after another has approved, and never otherwise."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from muster.contracts.approvals import (
    APPROVAL_DECIDED,
    APPROVE,
    LIST_APPROVALS,
    REFUSE,
    RELEASE,
    ApprovalDecided,
    ApprovalState,
    Approve,
    ListApprovals,
    Refuse,
    Release,
    Released,
)
from muster.contracts.authority import SIGN, Sign
from muster.contracts.errors import Conflict, Denied, Expired, NotFound
from muster.contracts.names import new_id
from muster.contracts.people import CHANGE_USER, ChangeUser
from muster.contracts.policy import Grant
from muster.kit.identity.envelope import open_command
from tests.authority.conftest import Stage
from tests.authority.test_roles import Directory, directory
from tests.authority.test_signing import ARGS

__all__ = ["directory"]


async def asked(
    stage: Stage, secret: str, nodes: list[str], **more: Any
) -> tuple[str, list[bytes]]:
    """Have a run signed; returns its id and the envelopes."""
    run = new_id()
    ask = Sign(
        **{
            "verb": "run",
            "run": run,
            "nodes": nodes,
            "digest": hashlib.sha256(ARGS).hexdigest(),
            "expires": stage.clock() + timedelta(hours=1),
            "summary": "reboot",
        }
        | more
    )
    return run, (await stage.ask(SIGN, ask, secret)).envelopes


async def release(stage: Stage, run: str, nodes: list[str]) -> Released:
    """Ask for the signatures, as the scheduler does."""
    return await stage.scheduler.ask(RELEASE, Release(run=run, nodes=nodes))


async def states(stage: Stage, secret: str, state: ApprovalState | None = None) -> dict[str, str]:
    """Return who sees which approvals."""
    page = await stage.ask(LIST_APPROVALS, ListApprovals(state=state), secret)
    return {one.run: one.state.value for one in page.items}


async def test_a_run_waits_for_another_person(stage: Stage, directory: Directory) -> None:
    """Nothing is signed before; after it, exactly what was asked for, in the asker's name."""
    nodes = [await stage.node() for _ in range(2)]
    directory.know(*nodes)
    tech, boss = await stage.user("tech1", "tech"), await stage.user("boss", "admin")
    run, envelopes = await asked(stage, tech, nodes)
    assert envelopes == [b"", b""]
    with pytest.raises(Denied, match="not approved"):
        await release(stage, run, nodes)
    assert await states(stage, boss) == {run: "pending"}
    facts: list[ApprovalDecided] = []

    async def hear(fact: ApprovalDecided, msg_id: str) -> None:
        facts.append(fact)

    async with stage.scheduler.consuming(APPROVAL_DECIDED, hear, durable="scheduler_approvals"):
        await stage.ask(APPROVE, Approve(run=run), boss)
        signed = (await release(stage, run, nodes)).envelopes
        opened = [open_command(blob + ARGS, [stage.broker.public_key])[0] for blob in signed]
        assert [(one.node, one.caller, one.run) for one in opened] == [
            (node, "tech1", run) for node in nodes
        ]
        with pytest.raises(Denied, match="not approved"):
            await release(stage, run, [await stage.node()])
        while not facts:
            await stage.ask(LIST_APPROVALS, ListApprovals(), boss)
    assert facts == [ApprovalDecided(run=run, approved=True, by="boss")]
    done = [(r.who, r.action, r.result) for r in await stage.audit(action="run.")]
    assert done == [
        ("tech1", "run.run", "ok"),
        ("boss", "run.approve", "ok"),
        ("tech1", "run.run", "waiting"),
    ]


async def test_nobody_approves_themselves_or_what_they_may_not(
    stage: Stage, directory: Directory
) -> None:
    """Not the one who asks, not who has no right to, not twice; each attempt is on record."""
    node, other = await stage.node(), await stage.node()
    directory.know(node, other)
    await stage.role("near", Grant(actions=["run.approve"], nodes=other))
    await stage.role("asks", Grant(actions=["run.*"], nodes="all", approval=True))
    both = await stage.user("both", "asks", "near")
    near, viewer = await stage.user("near1", "near"), await stage.user("viewer1", "viewer")
    run, _ = await asked(stage, both, [node])
    for secret in (both, near, viewer):
        with pytest.raises(Denied):
            await stage.ask(APPROVE, Approve(run=run), secret)
    assert await states(stage, near) == {}
    assert await states(stage, both) == {run: "pending"}
    with pytest.raises(NotFound):
        await stage.ask(APPROVE, Approve(run=new_id()))
    await stage.ask(REFUSE, Refuse(run=run, reason="not today"))
    with pytest.raises(Conflict, match="refused already"):
        await stage.ask(APPROVE, Approve(run=run))
    with pytest.raises(Denied, match="not approved"):
        await release(stage, run, [node])
    denied = [r.who for r in await stage.audit(action="run.approve") if r.result == "denied"]
    assert {"both", "near1"} <= set(denied)  # the door tells of the third a moment later


async def test_an_approval_ends_with_its_run(stage: Stage, directory: Directory) -> None:
    """Too late is too late, also between the approval and the signature; so is a cancelled run."""
    node = await stage.node()
    directory.know(node)
    tech = await stage.user("tech1", "tech")
    late, _ = await asked(stage, tech, [node])
    unsigned, _ = await asked(stage, tech, [node])
    gone, _ = await asked(stage, tech, [node])
    await asked(stage, tech, [node], verb="cancel", run=gone, summary="")
    await stage.ask(APPROVE, Approve(run=unsigned))
    stage.clock.ahead = timedelta(hours=2)
    with pytest.raises(Expired):
        await stage.ask(APPROVE, Approve(run=late))
    with pytest.raises(Expired):
        await release(stage, unsigned, [node])
    assert await states(stage, tech) == {late: "expired", unsigned: "approved", gone: "withdrawn"}


async def test_rights_that_are_lost_meanwhile_are_lost(stage: Stage, directory: Directory) -> None:
    """Approved, but who asked may not any more."""
    node = await stage.node()
    directory.know(node)
    tech = await stage.user("tech1", "tech")
    run, _ = await asked(stage, tech, [node])
    await stage.ask(APPROVE, Approve(run=run))
    await stage.ask(CHANGE_USER, ChangeUser(name="tech1", roles=["viewer"]))
    answer = await release(stage, run, [node])
    assert answer.envelopes == [b""]
    assert node in answer.refused


async def test_a_big_run_comes_in_parts(stage: Stage, directory: Directory) -> None:
    """They are one approval; and the number of all nodes counts, not of each part."""
    nodes = [await stage.node() for _ in range(2)]
    directory.know(*nodes)
    tech = await stage.user("tech1", "tech")
    run, _ = await asked(stage, tech, nodes[:1])
    await asked(stage, tech, nodes[1:], run=run)
    page = await stage.ask(LIST_APPROVALS, ListApprovals(), tech)
    assert [len(one.nodes) for one in page.items] == [2]
    with pytest.raises(Conflict):
        await asked(stage, tech, nodes, run=run, digest="0" * 64)
    await stage.role("few", Grant(actions=["run.*"], nodes="all", most=1))
    few = await stage.user("few1", "few")
    await asked(stage, few, nodes[:1])
    with pytest.raises(Denied, match="at most 1"):
        await asked(stage, few, nodes[:1], total=2)
