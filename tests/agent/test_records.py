"""The node's own record of what it took: bound link by link, and shown to who may see it."""

import sqlite3
from pathlib import Path

import pytest

from muster.agent import records
from muster.contracts.errors import Denied, Expired
from muster.contracts.names import new_id
from muster.contracts.records import NodeRecords, ReadRecords
from muster.contracts.runs import Read, State
from muster.kit import wire
from muster.kit.linking import GENESIS, link
from tests.agent.stage import PAST, Process, Server


def _linked(found: NodeRecords) -> bool:
    previous = GENESIS
    for one in found.items:
        if link(previous, one.model_dump() | {"state": one.state.value}) != one.hash:
            return False
        previous = one.hash
    return True


async def _shown(server: Server, after: int = 0, **other: object) -> NodeRecords:
    blob = server.sign("records", new_id(), ReadRecords(after=after), **other)
    subject = f"muster.cmd.{server.node}.records"
    return wire.unpack(NodeRecords, await server.bus.request(subject, blob, timeout=10, patience=0))


async def test_what_was_taken_is_on_record(server: Server, agent: Process) -> None:
    """Started, refused, cancelled before: each once, in order, also after a restart."""
    done = (await server.done("true")).run
    refused = (await server.done("true", run_as="nobody-at-all")).run
    early = new_id()
    await server.cancel(early)
    await server.final(early)
    await agent.kill()
    await agent.start()
    again = (await server.done("true")).run
    found = await _shown(server)
    assert [(one.run, one.state) for one in found.items] == [
        (done, State.STARTED),
        (refused, State.REFUSED),
        (early, State.CANCELLED),
        (again, State.STARTED),
    ]
    assert (found.last, [one.seq for one in found.items]) == (4, [1, 2, 3, 4])
    assert _linked(found)
    assert [one.seq for one in (await _shown(server, after=2)).items] == [3, 4]


@pytest.mark.usefixtures("agent")
async def test_only_a_valid_order_shows_the_record(server: Server) -> None:
    """Not one to read files, not an old one, not one for another node."""
    subject = f"muster.cmd.{server.node}.records"
    blob = server.sign("read", new_id(), Read())
    with pytest.raises(Denied):
        await server.bus.request(subject, blob, timeout=10, patience=0)
    with pytest.raises(Expired):
        await _shown(server, expires=PAST)
    with pytest.raises(Denied):
        await _shown(server, node="n" + "a" * 16)


def test_the_oldest_go_and_the_rest_still_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that runs for years keeps as much as it can show."""
    monkeypatch.setattr(records, "KEPT", 50)
    conn = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    conn.executescript(records.TABLE)
    for _ in range(120):
        records.append(conn, new_id(), new_id(), "started")
    found = records.page(conn, 0)
    assert ([one.seq for one in found.items], found.last) == (list(range(71, 121)), 120)
    for before, one in zip(found.items, found.items[1:], strict=False):
        assert link(before.hash, one.model_dump() | {"state": one.state.value}) == one.hash
    conn.close()
