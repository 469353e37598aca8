"""Joining by a certificate: the host proves itself to the authority, whoever is in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from muster.contracts.authority import APPROVE_NODE, REVOKE_NODE, ApproveNode, Joined, RevokeNode
from muster.contracts.base import NOTHING
from muster.contracts.certificates import (
    JOIN_BY_CERTIFICATE,
    JOIN_CHALLENGE,
    JoinByCertificate,
    JoinChallenge,
)
from muster.contracts.errors import Conflict, Denied, Expired, NotFound, Unavailable
from muster.contracts.nodes import NODE_JOINED, NODE_REVOKED, NodeRevoked
from muster.kit.identity.nkeys import Key
from muster.kit.identity.vetting import join_text, signed
from tests.authority.conftest import HOME, Stage
from tests.papers import HostCa, Paper, turned_around


@dataclass
class Scene:
    """The authority, and a CA that it trusts."""

    stage: Stage
    ca: HostCa = field(default_factory=HostCa)

    @asynccontextmanager
    async def playing(self, **settings: Any) -> AsyncIterator["Scene"]:
        """Run the authority with these settings."""
        path = self.stage.broker.data_dir / "hosts.pem"
        path.write_text(self.ca.pem)
        more = {"join_ca": path, **settings}
        self.stage.settings = self.stage.settings.model_copy(update=more)
        async with self.stage.playing():
            yield self

    async def challenge(self) -> str:
        """Ask for what a host signs."""
        told: JoinChallenge = await self.stage.client.ask(JOIN_CHALLENGE, NOTHING)
        return told.nonce

    async def asked(self, paper: Paper, key: Key | None = None, **more: Any) -> JoinByCertificate:
        """Return what a host sends."""
        key, nonce = key or Key.generate("U"), await self.challenge()
        text = join_text(nonce, key.public, "says-so", force=more.get("force", False))
        values = {
            "chain": paper.pem,
            "nonce": nonce,
            "public_key": key.public,
            "hostname": "says-so",
            "proof": key.sign((nonce + key.public).encode()),
            "signature": signed(paper.pem, paper.secret, text),
            "origin": HOME,
        }
        return JoinByCertificate(**{**values, **more})

    async def send(self, ask: JoinByCertificate) -> Joined:
        """Send it, as the gateway does."""
        return await self.stage.client.ask(JOIN_BY_CERTIFICATE, ask)

    async def join(self, paper: Paper, **more: Any) -> Joined:
        """Join as a host does."""
        return await self.send(await self.asked(paper, **more))

    async def decide(self, call: Any, ask: Any) -> None:
        """Do something as an administrator."""
        await self.stage.client.ask(call, ask, ticket=self.stage.broker.ticket())


@asynccontextmanager
async def facts(stage: Stage) -> AsyncIterator[list[Any]]:
    """Hear, as the registry does, who has joined and who was revoked."""
    heard: list[Any] = []

    async def take(fact: Any, _: str) -> None:
        heard.append(fact)

    async with (
        stage.broker.connect("registry") as line,
        line.consuming(NODE_JOINED, take, durable="registry_joined"),
        line.consuming(NODE_REVOKED, take, durable="registry_revoked"),
    ):
        yield heard


async def told(heard: list[Any], count: int) -> list[Any]:
    """Wait until so many facts have been told."""
    async with asyncio.timeout(20):
        while len(heard) < count:
            await asyncio.sleep(0.02)
    return heard


@pytest.fixture
async def scene(backstage: Stage) -> AsyncIterator[Scene]:
    """The authority lets everybody in who has a good certificate."""
    async with Scene(backstage).playing(join_approve=False) as made:
        yield made


@pytest.mark.parametrize("kind", ["ec", "ed25519", "rsa2048"])
async def test_a_good_certificate_lets_a_host_in(scene: Scene, kind: str) -> None:
    """With the name that the CA has given it, not the one that it says; all of it is recorded."""
    paper = scene.ca.issue("CN", "web1.example", kind=kind)
    async with facts(scene.stage) as heard:
        joined = await scene.join(paper)
        await told(heard, 1)
    assert not joined.pending
    assert [(one.id, one.hostname) for one in heard] == [(joined.node, "web1.example")]
    [record] = await scene.stage.audit(action="node.join")
    serial = f"{paper.cert.serial_number:x}"
    assert (record.result, record.nodes, record.address) == ("ok", [joined.node], HOME.address)
    assert record.who.startswith("@certificate:")
    assert record.detail == f"web1.example: CN=CN, serial {serial}"


async def test_somebody_approves_unless_the_settings_say_otherwise(backstage: Stage) -> None:
    """Groups and tags come from the settings; the broker lets nobody in before."""
    settings = {"join_groups": ["racked"], "join_tags": ["by=ca"], "join_names": ["*.prod.test"]}
    async with Scene(backstage).playing(**settings) as scene:
        async with facts(backstage) as heard:
            joined = await scene.join(scene.ca.issue("a.prod.test"))
            await told(heard, 1)
        assert joined.pending
        assert (heard[0].groups, heard[0].tags, heard[0].pending) == (
            ["racked"],
            {"by": "ca"},
            True,
        )
        await scene.decide(APPROVE_NODE, ApproveNode(node=joined.node))
        with pytest.raises(Denied, match="no host name"):
            await scene.join(scene.ca.issue("a.test.test"))


async def test_a_bad_certificate_opens_nothing(scene: Scene) -> None:
    """And is recorded; what is wrong in which way, is a test of the kit."""
    for paper in (HostCa().issue(), scene.ca.issue(begins=-9, hours=-8), scene.ca.issue(usage=[])):
        with pytest.raises(Denied, match="certificate"):
            await scene.join(paper)
    for chain in ("", "garbage", scene.ca.pem):
        with pytest.raises(Denied):
            await scene.join(scene.ca.issue(), chain=chain)
    records = await scene.stage.audit(action="node.join")
    assert [one.result for one in records] == ["denied"] * 6
    assert {one.who for one in records} == {"@join"}


async def test_somebody_in_between_changes_nothing(scene: Scene) -> None:
    """Not the key, the name or the certificate; nor does who has only seen the certificate join."""
    paper, mine, evil = scene.ca.issue(), Key.generate("U"), Key.generate("U")
    ask = await scene.asked(paper, mine)
    proof = evil.sign((ask.nonce + evil.public).encode())
    other = scene.ca.issue()
    theft = signed(other.pem, other.secret, join_text(ask.nonce, mine.public, "says-so"))
    for change in (
        {"public_key": evil.public, "proof": proof},
        {"proof": proof},
        {"hostname": "another"},
        {"chain": other.pem},
        {"signature": theft},
        {"signature": b""},
        {"nonce": await scene.challenge()},
    ):
        with pytest.raises(Denied, match="proof|signature"):
            await scene.send(ask.model_copy(update=change))
    assert (await scene.send(ask)).node


async def test_a_challenge_is_good_once_and_for_two_minutes(scene: Scene) -> None:
    """Nobody replays what a host has sent, and nobody makes a challenge himself."""
    ask = await scene.asked(scene.ca.issue())
    tries = await asyncio.gather(*[scene.send(ask) for _ in range(5)], return_exceptions=True)
    assert sum(isinstance(one, Joined) for one in tries) == 1
    assert sum(isinstance(one, Conflict) for one in tries) == 4
    late = await scene.asked(scene.ca.issue())
    for nonce in ("", "x", ask.nonce[:-4], "9" + late.nonce, late.nonce.replace(".", "..", 1)):
        with pytest.raises(Denied, match="not one of this server"):
            await scene.send(late.model_copy(update={"nonce": nonce}))
    scene.stage.clock.ahead = timedelta(minutes=2)
    with pytest.raises(Expired):
        await scene.send(late)


async def test_a_replay_after_a_restart_makes_no_second_node(backstage: Stage) -> None:
    """What was used is forgotten then, but the key is known."""
    scene = Scene(backstage)
    async with scene.playing(join_approve=False):
        ask = await scene.asked(scene.ca.issue())
        await scene.send(ask)
    async with scene.playing(), asyncio.timeout(20):
        with pytest.raises(Conflict):
            await scene.send(ask)


async def test_a_certificate_has_one_living_node(scene: Scene) -> None:
    """A second one only with --force, and an administrator puts it in the place of the first."""
    paper = scene.ca.issue()
    first = await scene.join(paper)
    with pytest.raises(Conflict, match=f"{first.node} has joined .* --force"):
        await scene.join(paper)
    second = await scene.join(paper, force=True)
    assert second.pending
    with pytest.raises(Conflict, match=f"{second.node} waits for approval"):
        await scene.join(paper, force=True)
    async with facts(scene.stage) as heard:
        await scene.decide(APPROVE_NODE, ApproveNode(node=second.node))
        await told(heard, 3)
    assert [one.id for one in heard if isinstance(one, NodeRevoked)] == [first.node]
    records = await scene.stage.audit(node=first.node)
    assert [one.action for one in records] == ["node.revoke", "node.join"]
    assert second.node in records[0].detail
    third = await scene.join(scene.ca.issue())
    assert not third.pending


async def test_another_way_to_write_a_signature_is_no_other_certificate(
    backstage: Stage,
) -> None:
    """Anybody can turn the signature of an ECDSA authority around, without its key."""
    scene = Scene(backstage)
    async with scene.playing(join_approve=False):
        paper = scene.ca.issue()
        assert (await scene.join(paper)).node
        turned = replace(paper, cert=turned_around(paper.cert))
        assert turned.pem != paper.pem
        with pytest.raises(Conflict, match="has joined with this certificate"):
            await scene.join(turned)


async def test_force_is_part_of_what_the_host_signs(backstage: Stage) -> None:
    """The gateway cannot ask for a replacement that the host does not want."""
    scene = Scene(backstage)
    async with scene.playing():
        ask = await scene.asked(scene.ca.issue())
        with pytest.raises(Denied, match="signature"):
            await scene.send(ask.model_copy(update={"force": True}))


async def test_after_a_revocation_somebody_decides(scene: Scene) -> None:
    """The certificate may have been stolen: it opens nothing by itself any more."""
    paper = scene.ca.issue()
    first = await scene.join(paper)
    await scene.decide(REVOKE_NODE, RevokeNode(node=first.node))
    again = await scene.join(paper)
    assert again.pending
    await scene.decide(REVOKE_NODE, RevokeNode(node=again.node))
    assert (await scene.join(paper, force=True)).pending


async def test_two_at_once_are_one(scene: Scene) -> None:
    """The same certificate on two hosts in the same moment."""
    paper = scene.ca.issue()
    tries = await asyncio.gather(*[scene.join(paper) for _ in range(4)], return_exceptions=True)
    assert sum(isinstance(one, Joined) for one in tries) == 1
    assert sum(isinstance(one, Conflict) for one in tries) == 3


async def test_revocation_lists_are_read_each_time(backstage: Stage) -> None:
    """A new one counts at once; one that cannot be read lets nobody in."""
    scene, path = Scene(backstage), backstage.broker.data_dir / "hosts.crl"
    paper = scene.ca.issue()
    path.write_bytes(scene.ca.revoking(paper))
    async with scene.playing(join_crl=path):
        with pytest.raises(Denied, match="has been revoked"):
            await scene.join(paper)
        path.write_bytes(scene.ca.revoking())
        ask = await scene.asked(paper)
        path.unlink()
        with pytest.raises(Unavailable):
            await scene.send(ask)
        path.write_bytes(scene.ca.revoking())
        assert (await scene.send(ask)).node
        ask = await scene.asked(scene.ca.issue("web2"))
        (backstage.broker.data_dir / "hosts.pem").write_text("no certificate")
        with pytest.raises(Unavailable):
            await scene.send(ask)


async def test_without_a_trusted_ca_there_is_no_such_door(stage: Stage) -> None:
    """And the host is told why."""
    with pytest.raises(NotFound, match="join_ca"):
        await stage.client.ask(JOIN_CHALLENGE, NOTHING)
