"""Signatures: only for nodes that are there, only with the right, each on record."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from muster.authority.tables import nodes
from muster.contracts.authority import SIGN, Sign, Signed
from muster.contracts.errors import Denied, Malformed, NotFound, Unauthenticated
from muster.contracts.names import new_id, new_node_id
from muster.kit.identity.envelope import open_command
from muster.kit.identity.nkeys import Key
from tests.authority.conftest import Stage
from tests.authority.test_joining import revoke

ARGS = b'{"argv":["true"]}'


async def sign(stage: Stage, names: list[str], secret: str = "", **more: Any) -> Signed:
    """Have a command signed for whoever has *secret*."""
    ask = Sign(
        **{
            "verb": "run",
            "run": new_id(),
            "nodes": names,
            "digest": hashlib.sha256(ARGS).hexdigest(),
            "expires": stage.clock() + timedelta(hours=1),
            "summary": "true",
        }
        | more
    )
    signed: Signed = await stage.ask(SIGN, ask, secret)
    return signed


async def test_each_node_gets_a_command_of_its_own(stage: Stage) -> None:
    """In the order of the question, in the name of the person, under the authority's key."""
    names = [await stage.node() for _ in range(3)]
    signed = await sign(stage, names)
    opened = [open_command(blob + ARGS, [stage.broker.public_key])[0] for blob in signed.envelopes]
    assert [one.node for one in opened] == names
    assert {one.caller for one in opened} == {"admin"}
    assert len({one.id for one in opened}) == 3


async def test_who_is_not_there_is_named(stage: Stage) -> None:
    """One unknown or revoked node, and nothing is signed for anybody."""
    known, unknown, out = await stage.node(), new_node_id(), await stage.node()
    await revoke(stage, out)
    before = len(await stage.audit())
    for wrong in (unknown, out):
        with pytest.raises(NotFound, match=wrong):
            await sign(stage, [known, wrong])
    assert len(await stage.audit()) == before


@pytest.mark.parametrize(
    ("verb", "good", "bad"),
    [
        ("run", "operator", "viewer"),
        ("cancel", "operator", "viewer"),
        ("read", "viewer", "void"),
    ],
)
async def test_each_verb_needs_its_right(stage: Stage, verb: str, good: str, bad: str) -> None:
    """Who may only read gets reading signed, and nothing else."""
    node = await stage.node()
    assert await sign(stage, [node], await stage.user("good", good), verb=verb)
    with pytest.raises(Denied):
        await sign(stage, [node], await stage.user("bad", bad), verb=verb)
    [refused, _] = await stage.audit(action=f"run.{verb}")
    assert (refused.who, refused.result) == ("bad", "denied")


async def test_there_are_three_verbs(stage: Stage) -> None:
    """What no agent knows is not signed, whoever asks; and somebody must ask."""
    node = await stage.node()
    with pytest.raises(Malformed, match="reboot"):
        await sign(stage, [node], verb="reboot")
    ask = Sign(verb="run", run=new_id(), nodes=[node], digest="0" * 64, expires=stage.clock())
    with pytest.raises(Unauthenticated):
        await stage.scheduler.ask(SIGN, ask)


async def test_each_call_is_one_record(stage: Stage) -> None:
    """Who, what, where, from which address, for which run."""
    names, run = [await stage.node(), await stage.node()], new_id()
    await sign(stage, names, run=run, summary="rm -rf \x1b[2J")
    [record] = await stage.audit(action="run.")
    assert (record.who, record.action, record.nodes) == ("admin", "run.run", names)
    assert (record.run, record.detail) == (run, "rm -rf \\x1b[2J")


async def test_a_thousand_nodes_are_signed_in_one_question(backstage: Stage) -> None:
    """The answer fits in a message, and so does a page of the audit about it."""
    async with backstage.playing() as authority:
        now = backstage.clock()
        rows = [
            {
                "id": new_node_id(),
                "public_key": Key.generate("U").public,
                "hostname": "h",
                "joined": now,
                "jwt_expires": now,
            }
            for _ in range(1000)
        ]
        await authority.tools.db.write(lambda conn: conn.execute(nodes.insert(), rows))
        names = [str(row["id"]) for row in rows]
        for _ in range(60):  # 60 records of 20 KB: more than one message
            await sign(backstage, names[:999])
        assert len((await sign(backstage, names)).envelopes) == 1000
        seen = 0
        before = None
        while found := await backstage.audit(limit=1000, before=before, action="run."):
            seen, before = seen + len(found), found[-1].seq
        assert seen == 61
