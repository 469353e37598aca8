"""The audit: complete, in order, and whoever changes it is found out; on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta

import nats.errors
import pytest
import sqlalchemy as sa

from muster.authority import chain, store
from muster.authority.tables import audit, metadata, state
from muster.contracts.authority import (
    LIST_AUDIT,
    VERIFY_AUDIT,
    AuditHead,
    AuditRecord,
    AuditVerdict,
    ListAudit,
)
from muster.contracts.base import NOTHING
from muster.contracts.errors import Denied
from muster.contracts.names import new_id, new_node_id
from muster.kit.identity.nkeys import Key
from muster.kit.linking import GENESIS, link
from muster.kit.migrating import drift
from muster.kit.sql import Database, open_database
from tests.authority.conftest import Stage

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


async def write(db: Database, count: int) -> None:
    """Write *count* records."""

    def work(conn: sa.Connection) -> None:
        store.begin(conn)
        for n in range(count):
            chain.append(
                conn,
                f"person {n % 3}",
                "run.run" if n % 2 else "login",
                now=NOW + timedelta(seconds=n),
                nodes=[new_node_id()],
                detail=f"détail {n} \0\ud800",
                address="::1",
            )

    await db.write(work)


async def verdict(db: Database) -> AuditVerdict:
    """Verify the audit."""
    return await db.read(chain.verify)


async def test_an_untouched_chain_is_whole(db: Database) -> None:
    """Also an empty one, and one longer than a page of the reading."""
    await write(db, 0)
    assert (await verdict(db)).broken_at is None
    await write(db, 1003)
    found = await verdict(db)
    assert (found.records, found.broken_at) == (1003, None)


CHANGES = {
    "edited": ("UPDATE audit SET detail = 'nothing' WHERE seq = 4", 4),
    "edited time": ("UPDATE audit SET at = '2020-01-01 00:00:00' WHERE seq = 4", 4),
    "edited with its hash": (
        "UPDATE audit SET who = 'x', hash = '" + "0" * 64 + "' WHERE seq = 4",
        4,
    ),
    "deleted": ("DELETE FROM audit WHERE seq = 5", 5),
    "first deleted": ("DELETE FROM audit WHERE seq = 1", 1),
    "cut off": ("DELETE FROM audit WHERE seq > 7", 8),
    "emptied": ("DELETE FROM audit", 1),
    "head turned back": ("UPDATE state SET seq = 8", 11),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_every_change_is_found(db: Database, change: str) -> None:
    """And the place is told from which on nothing is proven."""
    await write(db, 10)
    statement, place = CHANGES[change]
    await db.write(lambda conn: conn.execute(sa.text(statement)))
    assert (await verdict(db)).broken_at == place


async def test_another_order_is_found(db: Database) -> None:
    """Two whole records that changed places, with or without their hashes."""
    await write(db, 10)

    def swap(conn: sa.Connection) -> None:
        for old, new in ((3, 1000), (6, 3), (1000, 6)):
            conn.execute(sa.update(audit).where(audit.c.seq == old).values(seq=new))

    await db.write(swap)
    assert (await verdict(db)).broken_at == 3


async def test_the_list_is_read_in_pages(db: Database) -> None:
    """Newest first, by person, by the beginning of an action; nothing twice, nothing left out."""
    await write(db, 30)
    seen: list[int] = []
    before = None
    while True:
        ask = ListAudit(limit=7, before=before)
        page = await db.read(lambda conn, ask=ask: chain.page(conn, ask))  # type: ignore[misc]
        seen += [one.seq for one in page.items]
        if page.next is None:
            break
        before = page.next
    assert seen == list(range(30, 0, -1))
    asks = {
        "person 1": ListAudit(who="person 1"),
        "run.": ListAudit(action="run."),
        "%": ListAudit(action="%"),
        "both": ListAudit(who="person 1", action="login", limit=2),
    }
    found = {
        name: [one.seq for one in (await db.read(lambda c, a=ask: chain.page(c, a))).items]  # type: ignore[misc]
        for name, ask in asks.items()
    }
    assert found["person 1"] == [n + 1 for n in range(29, -1, -1) if n % 3 == 1]
    assert found["run."] == [n + 1 for n in range(29, -1, -1) if n % 2]
    assert found["%"] == []
    assert found["both"] == [29, 23]


async def test_the_tables_are_what_the_steps_make(db: Database) -> None:
    """What is described is what there is, on both databases."""
    assert await db.write(lambda conn: drift(conn, metadata, "muster.authority")) == []


async def test_tokens_and_nodes_are_kept(db: Database) -> None:
    """A token is found by its hash, burnt once; what is revoked is told until it expires."""
    key, node, token = Key.generate("U").public, new_node_id(), new_id()
    row = {
        "id": token, "hash": "h", "created": NOW, "created_by": "li", "expires": NOW, "name": None,
        "groups": ["a"], "tags": {"k": "v"}, "note": "",
    }  # fmt: skip

    def work(conn: sa.Connection) -> None:
        store.begin(conn)
        store.add_token(conn, row)
        store.burn(conn, token, node, NOW)
        until = NOW + timedelta(days=1)
        rows = {"id": node, "public_key": key, "hostname": "h", "joined": NOW, "jwt_expires": until}
        store.add_node(conn, rows)
        store.revoke(conn, node, NOW)

    await db.write(work)
    [listed] = await db.read(store.tokens)
    assert (listed.used, listed.node) == (NOW, node)
    assert await db.read(lambda conn: store.revoked(conn, NOW)) == {key: NOW}
    assert await db.read(lambda conn: store.revoked(conn, NOW + timedelta(days=2))) == {}
    assert await db.read(lambda conn: store.missing(conn, [node, "x"])) == {node, "x"}
    assert await db.read(lambda conn: store.has_key(conn, key))
    assert await db.write(lambda conn: store.drop_token(conn, token))
    assert not await db.write(lambda conn: store.drop_token(conn, token))


async def test_the_service_verifies_its_own_audit(stage: Stage) -> None:
    """Who may read it may have it checked."""
    found = await stage.client.ask(
        VERIFY_AUDIT, NOTHING, ticket=stage.broker.ticket("audit.read"), timeout=20
    )
    assert found.broken_at is None
    assert found.records >= 2


async def test_records_are_found_by_what_is_in_them(db: Database) -> None:
    """By a part of any field, the result, the node, and the time; and in either order."""
    await write(db, 30)

    async def found(**wanted: object) -> list[int]:
        page = await db.read(lambda conn: chain.page(conn, ListAudit(**wanted)))
        return [one.seq for one in page.items]

    assert await found(text="TAIL 7 ") == [8]
    assert await found(who="person 1", limit=2) == [29, 26]
    assert await found(after=27) == [28, 29, 30]
    assert await found(after=0, limit=3) == [1, 2, 3]
    assert await found(result="denied") == []
    assert await found(since=NOW + timedelta(seconds=28)) == [30, 29]
    assert await found(until=NOW + timedelta(seconds=2)) == [2, 1]
    node = (await db.read(lambda conn: chain.page(conn, ListAudit(limit=1)))).items[0].nodes[0]
    assert await found(node=node) == [30]
    assert await found(text="%") == []


async def test_a_new_chain_contradicts_the_published_heads(stage: Stage) -> None:
    """Who can write the database and knows the format is found out all the same."""
    for _ in range(3):
        await stage.token()
    async with open_database(stage.database, migrations="muster.authority") as db:
        heads = (stage.broker.data_dir / "audit-heads.jsonl").read_text().splitlines()
        assert heads
        verdict = await stage.client.ask(VERIFY_AUDIT, NOTHING, ticket=stage.broker.ticket())
        assert (verdict.broken_at, verdict.complaint) == (None, "")
        assert verdict.heads == 2 * len(heads)  # in the file and in the stream
        assert verdict.signed

        def anew(conn: sa.Connection) -> None:
            rows = conn.execute(sa.select(audit).order_by(audit.c.seq)).all()
            previous = GENESIS
            for row in rows:
                values = row._asdict() | {"detail": "nothing happened"}
                previous = link(previous, values)
                changed = {"detail": values["detail"], "hash": previous}
                conn.execute(sa.update(audit).where(audit.c.seq == row.seq).values(**changed))
            conn.execute(sa.update(state).values(hash=previous))

        await db.write(anew)
    verdict = await stage.client.ask(VERIFY_AUDIT, NOTHING, ticket=stage.broker.ticket())
    assert verdict.broken_at is None
    assert "the chain was written anew" in verdict.complaint


async def test_a_head_that_nobody_signed_is_told(stage: Stage) -> None:
    """Neither a foreign line in the file nor a cut one goes unseen, or does harm."""
    await stage.token()
    path = stage.broker.data_dir / "audit-heads.jsonl"
    line = path.read_text().splitlines()[0]
    path.write_text(line + "\n" + line[:40] + "\n")
    verdict = await stage.client.ask(VERIFY_AUDIT, NOTHING, ticket=stage.broker.ticket())
    assert verdict.complaint == ""
    forged = AuditHead.model_validate_json(line).model_copy(update={"hash": "0" * 64})
    path.write_text(forged.model_dump_json() + "\n")
    verdict = await stage.client.ask(VERIFY_AUDIT, NOTHING, ticket=stage.broker.ticket())
    assert "not been signed by this server" in verdict.complaint


async def test_published_heads_cannot_be_taken_back(stage: Stage) -> None:
    """The stream denies it, to the authority too, which has no right to ask for it anyway."""
    async with stage.broker.connect("authority") as bus:
        info = await bus.client.jetstream(timeout=5).stream_info("AUDIT")
        assert (info.config.deny_delete, info.config.deny_purge) == (True, True)
        for question in ("PURGE", "DELETE", "MSG.DELETE"):
            with pytest.raises(nats.errors.Error):
                await bus.client.request(f"$JS.API.STREAM.{question}.AUDIT", b"{}", timeout=0.5)


async def test_every_refusal_is_on_record(stage: Stage) -> None:
    """Also of other services; who is refused all the time does not fill the disk."""
    session = await stage.user("li", "viewer")
    for _ in range(50):
        with pytest.raises(Denied):
            await stage.ask(LIST_AUDIT, ListAudit(), session)
    records: list[AuditRecord] = []
    async with asyncio.timeout(10):
        while not records:
            records = await stage.audit(who="li", result="denied")
    assert (records[0].action, records[0].address) == ("audit.read", "192.0.2.7")
    assert records[0].detail == "authority: li may not audit.read"
    assert len(records) <= 40
