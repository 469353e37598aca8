"""The audit: complete, in order, and whoever changes it is found out; on both databases."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from muster.authority import chain, store
from muster.authority.tables import audit, metadata
from muster.contracts.authority import VERIFY_AUDIT, AuditVerdict, ListAudit
from muster.contracts.base import NOTHING
from muster.contracts.names import new_id, new_node_id
from muster.kit.identity.nkeys import Key
from muster.kit.migrating import drift
from muster.kit.sql import Database
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
