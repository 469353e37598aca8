"""What the journal keeps, and when it says that it has."""

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from muster.agent import journal as module
from muster.agent.journal import REMEMBERED, Ended, Entry, Journal
from muster.contracts.errors import Unavailable
from muster.contracts.names import new_id
from muster.contracts.runs import State

ENDED = Ended(exit=0, finished=1.0)


def entry(run: str = "", expires: float = 4e9, *, acked: bool = False) -> Entry:
    """Return an entry of a run that was started."""
    return Entry(
        run=run or new_id(),
        command=new_id(),
        state=State.STARTED,
        boot="boot",
        expires=expires,
        acked=acked,
    )


async def test_a_run_is_begun_once(tmp_path: Path) -> None:
    """Whoever comes second gets the entry of the first, also after a restart."""
    one = entry()
    async with Journal(tmp_path / "j.db") as journal:
        begun = await asyncio.gather(*(journal.begin(one) for _ in range(10)))
        assert [known is None for known in begun] == [True] + [False] * 9
    async with Journal(tmp_path / "j.db") as journal:
        assert await journal.begin(entry(one.run)) == one
    assert (tmp_path / "j.db").stat().st_mode & 0o777 == 0o600


async def test_entries_that_come_together_share_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty orders cost a few fsyncs, not forty."""
    commits = []
    real = Journal._commit  # noqa: SLF001

    def counted(self: Journal, works: list[module.Work[object]]) -> object:
        commits.append(len(works))
        return real(self, works)

    monkeypatch.setattr(Journal, "_commit", counted)
    async with Journal(tmp_path / "j.db") as journal:
        await asyncio.gather(*(journal.begin(entry()) for _ in range(40)))
    assert sum(commits) == 41
    assert len(commits) <= 5


async def test_an_end_is_kept_until_it_is_acknowledged(tmp_path: Path) -> None:
    """Open entries come back in order; acknowledged ones are only remembered."""
    runs = [entry() for _ in range(3)]
    async with Journal(tmp_path / "j.db") as journal:
        for one in runs:
            await journal.begin(one)
        await journal.finish(runs[0].run, State.DONE, ENDED)
        journal.acknowledged(runs[1].run, State.FAILED, ENDED)
    async with Journal(tmp_path / "j.db") as journal:
        left = await journal.not_acked()
        assert [(one.run, one.state, one.ended) for one in left] == [
            (runs[0].run, State.DONE, ENDED),
            (runs[2].run, State.STARTED, None),
        ]
        assert {one.run for one in await journal.known()} == {runs[0].run, runs[2].run}
        known = await journal.get(runs[1].run)
        assert known
        assert (known.state, known.acked) == (State.FAILED, True)


async def test_acknowledgements_are_written_soon(tmp_path: Path) -> None:
    """They wait for company, but not for long."""
    async with Journal(tmp_path / "j.db") as journal:
        one = entry()
        await journal.begin(one)
        journal.acknowledged(one.run, State.DONE, ENDED)
        deadline = time.monotonic() + 5
        with sqlite3.connect(tmp_path / "j.db") as conn:
            while not conn.execute("select acked from runs").fetchone()[0]:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
        conn.close()


async def test_a_run_is_forgotten_long_after_its_expiry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight days, and never the newest thousands: a clock that jumps opens no door."""
    monkeypatch.setattr(module, "LEAST", 2)
    async with Journal(tmp_path / "j.db") as journal:
        old = [entry(expires=1000.0, acked=True) for _ in range(5)]
        for one in [*old, entry(expires=1000.0)]:
            await journal.begin(one)
        assert await journal.forget(1000.0 + REMEMBERED) == 0
        assert await journal.forget(1001.0 + REMEMBERED) == 4
        assert await journal.forget(1e12) == 0
        assert await journal.get(old[-1].run) is not None
        assert len(await journal.not_acked()) == 1


async def test_a_journal_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """Every order is refused until it can be written again; nothing is pretended."""
    path = tmp_path / "j.db"
    path.mkdir()
    async with Journal(path) as journal:
        assert "journal cannot be written" in journal.trouble
        with pytest.raises(Unavailable, match="journal"):
            await journal.begin(entry())
        path.rmdir()
        assert await journal.begin(entry()) is None
        assert journal.trouble == ""
    async with Journal(path) as journal:
        assert len(await journal.not_acked()) == 1


async def test_a_damaged_journal_is_not_overwritten(tmp_path: Path) -> None:
    """Its content is evidence: without it commands could run twice."""
    path = tmp_path / "j.db"
    path.write_bytes(b"this is no database" * 1000)
    async with Journal(path) as journal:
        assert journal.trouble
        with pytest.raises(Unavailable):
            await journal.begin(entry())
    assert path.read_bytes() == b"this is no database" * 1000
