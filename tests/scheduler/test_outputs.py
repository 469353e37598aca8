"""The stored copy of an output: nothing is lost in it, however it was cut into pieces."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from muster.contracts.errors import Malformed
from muster.contracts.names import new_id, new_node_id
from muster.contracts.nodes import NodeState
from muster.contracts.nodes import Target as Meant
from muster.contracts.runs import Command, Piece, Report, RunEvents, RunEventsAfter, State, Stream
from muster.kit import wire
from muster.kit.sql import Database, open_database
from muster.scheduler import history, outputs, store
from muster.scheduler.folds import Told, fold_batch
from muster.scheduler.tables import output

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN, NODE = new_id(), new_node_id()
CAP = 256 * 1024


@pytest.fixture(params=["sqlite", "postgresql"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """Open a scheduler's database, of each kind in turn, with one run on one node."""
    url = f"sqlite:///{tmp_path}/scheduler.db"
    if request.param == "postgresql":
        url = f"{request.getfixturevalue('postgres_url')}&schema=t{new_id()}"
    run = store.NewRun(
        RUN, NOW, "admin", "", "", wire.pack(Command(argv=["x"])), NOW + timedelta(hours=1), CAP
    )
    meant = [Meant(id=NODE, name="one", state=NodeState.ONLINE)]
    async with open_database(url, migrations="muster.scheduler") as opened:
        await opened.write(lambda conn: store.insert_run(conn, run, meant, [b"signed"]))
        yield opened


def _report(size: int, *pieces: tuple[int, bytes], state: State = State.STARTED) -> Told:
    told = [Piece(stream=Stream.OUT, offset=offset, data=data) for offset, data in pieces]
    return Told(NODE, Report(run=RUN, command=RUN, state=state, stdout=size, pieces=told))


async def _take(db: Database, *told: Told) -> None:
    await db.write(lambda conn: fold_batch(conn, told, NOW))


async def _events(db: Database, after: int) -> RunEvents:
    ask = RunEventsAfter(run=RUN, after=after)
    return await db.read(lambda conn: history.events(conn, RUN, ask))


def _read(conn: Connection) -> dict[int, bytes]:
    """Return what is stored, by the offset of each part that hangs together."""
    found: dict[int, bytes] = {}
    at, last = 0, -1
    while True:
        part = outputs.read(conn, RUN, NODE, Stream.OUT, at)
        assert part
        if part.data:
            if part.offset == last:
                begin = max(found)
                found[begin] += part.data
            else:
                found[part.offset] = part.data
            last = at = part.offset + len(part.data)
        if part.end or not part.data:
            return found


def _rows(conn: Connection) -> int:
    return int(conn.execute(select(func.count()).select_from(output)).scalar_one())


async def test_the_longer_of_two_pieces_stays(db: Database) -> None:
    """An agent that has forgotten how far it was cuts anew; no byte between is lost."""
    await _take(db, _report(3, (0, b"abc")))
    await _take(db, _report(9, (0, b"abcdef"), (6, b"ghi")))
    await _take(db, _report(9, (0, b"abc"), (6, b"g")))
    assert await db.read(_read) == {0: b"abcdefghi"}


async def test_a_talkative_command_loses_nothing(db: Database) -> None:
    """Thousands of lines of a few bytes: few rows, every byte of head and tail, the newest too."""
    dice = random.Random(3)
    data = dice.randbytes(300 * 1024)
    at = 0
    while at < len(data):
        batch = []
        for _ in range(60):
            piece = data[at : at + dice.randrange(1, 60)]
            at += len(piece)
            batch.append(_report(at, (at - len(piece), piece)) if piece else _report(at))
        await _take(db, *batch)
    await _take(db, _report(at, state=State.DONE))
    head, tail = sorted((await db.read(_read)).items())
    assert head[0] == 0
    assert data.startswith(head[1])
    assert len(head[1]) > CAP // 4 - 60
    assert data.endswith(tail[1])
    assert CAP // 4 - outputs.JOINED <= len(tail[1]) <= CAP // 4
    assert await db.read(_rows) < outputs.MANY + 100


async def test_who_follows_sees_each_byte_in_order(db: Database) -> None:
    """Joining puts bytes into later events; by their offsets a reader knows what is new."""
    data = bytes(range(256)) * 8
    seen, after = b"", 0
    for at in range(len(data)):
        await _take(db, _report(at + 1, (at, data[at : at + 1])))
        if at % 100 == 0 or at + 1 == len(data):
            more = True
            while more:
                page = await _events(db, after)
                for event in page.items:
                    for piece in event.pieces:
                        assert piece.offset <= len(seen)
                        seen += piece.data[len(seen) - piece.offset :]
                after, more = page.seq, page.more
    assert seen == data


async def test_holes_cannot_fill_the_table(db: Database) -> None:
    """A node that sends every other byte is cut off, and no other target notices."""
    size = 4 * outputs.MOST_PIECES
    for start in range(0, size, 1280):
        batch = [
            _report(size, *((at, b"x") for at in range(begin, begin + 128, 2)))
            for begin in range(start, start + 1280, 128)
        ]
        await _take(db, *batch)
    assert await db.read(_rows) <= outputs.MOST_PIECES


async def test_no_text_of_a_node_spoils_the_reports_of_others(db: Database) -> None:
    """What a database cannot store is refused before it gets that far."""
    for text in ("a\0b", "\ud800", "\u202e", "ﬀ" * 500, "'; DROP TABLE runs; --"):
        body = {"run": RUN, "command": RUN, "state": "started", "reason": text}
        with suppress(Malformed):
            report = wire.unpack(Report, json.dumps(body).encode())
            await _take(db, Told(NODE, report))
