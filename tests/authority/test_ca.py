"""Another CA: nodes hear of it sealed, say that they trust it, and are waited for."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from muster.authority.rotating_ca import Report, step
from muster.contracts.authority import (
    APPROVE_NODE,
    RENEW,
    REVOKE_NODE,
    ApproveNode,
    Renewed,
    RenewJwt,
    RevokeNode,
)
from muster.contracts.base import NOTHING
from muster.contracts.certificates import CA_NEWS
from muster.contracts.errors import Conflict
from muster.kit.identity.authorities import Authorities, hear, newest
from muster.kit.identity.certificates import fingerprint
from tests.authority.conftest import Stage


@pytest.fixture
async def secure(backstage: Stage) -> AsyncIterator[Stage]:
    """The authority of a server that speaks TLS."""
    folder = backstage.broker.data_dir / "tls"
    Authorities(folder).open(["localhost"], datetime.now(UTC))
    more = {"ca": folder / "ca.pem", "public_url": "https://muster.example"}
    backstage.settings = backstage.settings.model_copy(update=more)
    async with backstage.playing():
        yield backstage


def folder(stage: Stage) -> Path:
    """Return where the server's certificates are."""
    return stage.broker.data_dir / "tls"


async def renewed(stage: Stage, node: str, ca: str | None) -> Renewed:
    """Ask for fresh credentials, and say whom the node trusts."""
    async with stage.broker.connect(node) as line:
        return await line.ask(RENEW, RenewJwt(ca=ca), node=node)


async def done(stage: Stage, which: str, *, force: bool = False) -> Report:
    """Do a step on the console, while the authority runs."""
    return await step(stage.settings, folder(stage), which, force=force)


async def test_nodes_hear_of_another_ca_and_are_waited_for(secure: Stage) -> None:
    """With their credentials, sealed; who has not said that it trusts it is named."""
    node = await secure.node()
    old = (folder(secure) / "ca.pem").read_text()
    first = await done(secure, "prepare")
    both = (folder(secure) / "ca.pem").read_text()
    assert (first.state, first.nodes, first.deaf) == ("prepared", 1, [node])
    news = await renewed(secure, node, newest(old))
    assert hear(old, news.ca, [secure.broker.public_key]) == both
    assert news.server == "https://muster.example"
    with pytest.raises(Conflict, match=node):
        await done(secure, "switch")
    assert (await done(secure, "status")).deaf == [node]
    await renewed(secure, node, newest(both))
    assert (await done(secure, "status")).deaf == []
    assert (await done(secure, "switch")).state == "switched"
    last = await done(secure, "retire")
    assert last.fingerprints == [newest(both)]
    news = await renewed(secure, node, newest(both))
    assert (
        hear(both, news.ca, [secure.broker.public_key]) == (folder(secure) / "ca.pem").read_text()
    )
    records = await secure.audit(action="ca.")
    assert [one.detail for one in records[1::2]] == ["begun"] * 3
    records = records[::2]
    assert [one.action for one in records] == ["ca.retire", "ca.switch", "ca.prepare"]
    assert {one.who for one in records} == {"@console"}
    assert fingerprint(old) in records[1].detail


async def test_only_who_matters_is_waited_for(secure: Stage) -> None:
    """Not the revoked, the pending, the expired, who joined later, and who speaks without TLS."""
    revoked, plain, silent = [await secure.node() for _ in range(3)]
    pending = (await secure.join((await secure.token(approve=True)).secret)).node
    ticket = secure.broker.ticket()
    await secure.client.ask(REVOKE_NODE, RevokeNode(node=revoked), ticket=ticket)
    await renewed(secure, plain, "")
    await renewed(secure, silent, None)  # an agent of before
    report = await done(secure, "prepare")
    assert report.deaf == [silent]
    await secure.client.ask(APPROVE_NODE, ApproveNode(node=pending), ticket=ticket)
    assert sorted((await done(secure, "status")).deaf) == sorted([silent, pending])
    later = await secure.node()
    assert later not in (await done(secure, "status")).deaf
    secure.clock.ahead = timedelta(days=1)
    assert (await done(secure, "switch", force=True)).state == "switched"


async def test_anybody_may_know_what_became_of_the_ca(secure: Stage) -> None:
    """The gateway tells it to who is shut out; it holds no secret."""
    await done(secure, "prepare")
    news = await secure.client.ask(CA_NEWS, NOTHING)
    place = Authorities(folder(secure))
    assert news.ca == place.bundle.read_text()
    assert (len(news.vouchers), news.vouchers) == (1, place.vouchers())
    assert hear(place.trusted()[0], news.notice, [secure.broker.public_key]) == news.ca
    assert "PRIVATE" not in news.model_dump_json()


async def test_without_tls_there_is_nothing_to_tell(stage: Stage) -> None:
    """And nobody waits for nodes that never had a CA."""
    node = await stage.node()
    news = await stage.client.ask(CA_NEWS, NOTHING)
    assert (news.ca, news.notice) == ("", None)
    assert (await renewed(stage, node, "")).ca is None
    with pytest.raises(Conflict, match="no CA of its own"):
        await done(stage, "prepare")
    Authorities(folder(stage)).open(["localhost"], datetime.now(UTC))
    assert (await done(stage, "prepare")).deaf == []
