"""Each service's tables are brought up to date when it starts."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from muster.contracts.errors import Unavailable
from muster.kit.migrating import drift, write_step
from muster.kit.migrations import bring_to_head, folder_of, head_of
from muster.kit.sql import Database, create_engine, open_database
from tests.kit.conftest import ROOT
from tests.kit.shelf.tables import books, metadata

STEP = """
import sqlalchemy as sa
from alembic import op
revision: str = "{revision}"
down_revision: str | None = {down!r}
def upgrade() -> None:
    op.create_table("{name}", sa.Column("id", sa.Integer(), primary_key=True))
    {more}
"""
ENV = (
    "import sqlalchemy as sa\nfrom muster.kit.migrating import run_here\nrun_here(sa.MetaData())\n"
)


def step(package: Path, revision: str, down: str | None, more: str = "pass") -> None:
    """Add a step that makes a table called ``t<revision>``."""
    text = STEP.format(revision=revision, down=down, name=f"t{revision}", more=more)
    (package / "migrations" / "versions" / f"{revision}_step.py").write_text(text)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a service's package with one step."""
    path = tmp_path / "100% drawer"
    (path / "drawer" / "migrations" / "versions").mkdir(parents=True)
    (path / "drawer" / "migrations" / "env.py").write_text(ENV)
    monkeypatch.syspath_prepend(path)
    step(path / "drawer", "0001", None)
    return path / "drawer"


async def tables(url: str) -> set[str]:
    """Open the drawer and return its tables."""
    async with open_database(url, migrations="drawer") as db:
        return await db.read(lambda conn: set(sa.inspect(conn).get_table_names()))


async def test_the_migrations_lead_to_the_tables(db: Database) -> None:
    """Nobody changes a table and forgets the step."""
    assert await db.read(lambda conn: drift(conn, metadata, "tests.kit.shelf")) == []


async def test_a_forgotten_step_is_found(db: Database) -> None:
    """The comparison sees a column that no step makes."""
    changed = sa.MetaData()
    for table in metadata.tables.values():
        table.to_metadata(changed)
    changed.tables["books"].append_column(sa.Column("isbn", sa.Text))
    found = await db.read(lambda conn: drift(conn, changed, "tests.kit.shelf"))
    assert "isbn" in str(found)
    assert len(found) == 1


async def test_new_steps_are_made_at_the_next_start(package: Path, database_url: str) -> None:
    """An update brings its own steps, and what was there stays."""
    assert "t0001" in await tables(database_url)
    step(package, "0002", "0001")
    step(package, "0003", "0002")
    assert {"t0001", "t0002", "t0003"} <= await tables(database_url)
    assert head_of(package / "migrations") == "0003"


async def test_a_step_that_fails_changes_nothing(package: Path, database_url: str) -> None:
    """Either the whole update or none of it, on both databases."""
    await tables(database_url)
    step(package, "0002", "0001", "raise ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        await tables(database_url)
    step(package, "0002", "0001", "op.rename_table('t0002', 'better')")
    assert "better" in await tables(database_url)


async def test_a_newer_database_is_refused(package: Path, database_url: str) -> None:
    """An old program does not touch what a newer one has made."""
    step(package, "0002", "0001")
    await tables(database_url)
    (package / "migrations" / "versions" / "0002_step.py").unlink()
    with pytest.raises(Unavailable, match=r"drawer does not fit this version.*newer version"):
        await tables(database_url)


async def test_two_newest_steps_are_a_mistake(package: Path, tmp_path: Path) -> None:
    """Two branches of the history that nobody merged are named."""
    step(package, "0002", "0001")
    step(package, "0003", "0001")
    with pytest.raises(LookupError, match="2 newest revisions"):
        await tables(f"sqlite:///{tmp_path}/a.db")


async def test_two_processes_may_start_at_once(database_url: str) -> None:
    """One of them migrates, the others wait for it."""
    program = f"""
import asyncio
from muster.kit.sql import open_database
async def main():
    async with open_database({database_url!r}, migrations="tests.kit.shelf"):
        pass
asyncio.run(main())
"""
    starts = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env={"PYTHONPATH": str(ROOT)}
        )
        for _ in range(3)
    ]
    async with asyncio.timeout(50):
        assert [await one.wait() for one in starts] == [0, 0, 0]
    async with open_database(database_url, migrations="tests.kit.shelf") as db:
        assert await db.read(lambda conn: conn.execute(sa.select(books)).all()) == []


async def test_services_of_one_process_may_start_at_once(package: Path, tmp_path: Path) -> None:
    """As under `muster up`: each gets its own tables and no other's."""
    del package
    found = dict[str, set[str]]()

    async def start(name: str, migrations: str) -> None:
        url = f"sqlite:///{tmp_path}/{name}.db"
        async with open_database(url, migrations=migrations) as db:
            found[name] = await db.read(lambda conn: set(sa.inspect(conn).get_table_names()))

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(start(f"a{number}", "drawer"))
            group.create_task(start(f"b{number}", "tests.kit.shelf"))
    assert all(("t0001" in tables) is name.startswith("a") for name, tables in found.items())
    assert all(("books" in tables) is name.startswith("b") for name, tables in found.items())


async def test_alembic_is_imported_only_when_needed(tmp_path: Path) -> None:
    """A start with nothing to migrate does not pay for the tool."""
    url = f"sqlite:///{tmp_path}/a.db"
    async with open_database(url, migrations="tests.kit.shelf"):
        pass
    program = f"""
import asyncio, sys
from muster.kit.sql import open_database
async def main():
    async with open_database({url!r}, migrations="tests.kit.shelf"):
        assert "alembic" not in sys.modules
        assert "psycopg" not in sys.modules
asyncio.run(main())
"""
    command = [sys.executable, "-c", program]
    await asyncio.to_thread(
        subprocess.run, command, check=True, env={"PYTHONPATH": str(ROOT)}, timeout=30
    )


def test_a_step_is_written_from_the_tables(package: Path, tmp_path: Path) -> None:
    """The tool writes what the tables have and the steps have not, ready to run."""
    (package / "tables.py").write_text(
        "import sqlalchemy as sa\n"
        "from muster.kit.sql import Json, UtcTime\n"
        "metadata = sa.MetaData()\n"
        "t = sa.Table('t0001', metadata, sa.Column('id', sa.Integer, primary_key=True),\n"
        "             sa.Column('at', UtcTime, index=True), sa.Column('about', Json))\n"
    )
    path = write_step("drawer", "Add: when, and what about")
    assert path.name == "0002_add_when_and_what_about.py"
    assert "muster" not in path.read_text()
    engine = create_engine(f"sqlite:///{tmp_path}/b.db", schema="drawer")
    bring_to_head(engine, "drawer")
    with engine.connect() as conn:
        columns = [column["name"] for column in sa.inspect(conn).get_columns("t0001")]
    assert columns == ["id", "at", "about"]
    with pytest.raises(ValueError, match="as its migrations make them"):
        write_step("drawer", "again")


def test_a_package_without_migrations_is_named() -> None:
    """A wrong name is not silently an empty history."""
    with pytest.raises(LookupError, match=r"muster\.contracts has no migrations"):
        folder_of("muster.contracts")
    with pytest.raises(LookupError, match="nonsense has no"):
        folder_of("nonsense")
