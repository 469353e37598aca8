"""Bring a service's tables to the newest revision of its own history, if they are not.

The history is alembic's and lives in the service's package (see `muster.kit.migrating`).
Alembic is imported only if there is something to do, because that takes a quarter of a second.
"""

import hashlib
import importlib.util
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from muster.kit.files import locked

_REVISION: Final = re.compile(r'^revision\b[^=]*=\s*["\']([^"\']+)["\']', re.MULTILINE)
_DOWN: Final = re.compile(r'^down_revision\b[^=]*=\s*["\']([^"\']+)["\']', re.MULTILINE)
_PATIENCE: Final = 30.0


def folder_of(package: str) -> Path:
    """Return the migrations folder of *package*, without importing the package."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations if spec else None) or ():
        if (Path(place) / "migrations" / "env.py").is_file():
            return Path(place) / "migrations"
    raise LookupError(f"{package} has no migrations/env.py")


def head_of(folder: Path) -> str:
    """Return the newest revision in *folder*, by a cheap look at its files."""
    known, followed = set[str](), set[str]()
    for file in (folder / "versions").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        known.update(_REVISION.findall(text))
        followed.update(_DOWN.findall(text))
    heads = known - followed
    if len(heads) != 1:
        raise LookupError(f"{folder} has {len(heads)} newest revisions, not one: {sorted(heads)}")
    return heads.pop()


def bring_to_head(engine: Engine, package: str) -> None:
    """Run the migrations that the database has not had; two processes may try at once."""
    folder = folder_of(package)
    head = head_of(folder)
    table = version_table(package)
    if _current(engine, table) == head:
        return
    from muster.kit.migrating import upgrade  # noqa: PLC0415 (slow, and seldom needed)

    with _alone(engine, package) as conn:
        upgrade(conn, folder, table)


def version_table(package: str) -> str:
    """Return the name of the table in which alembic keeps the revision of *package*'s tables."""
    return f"{package.rpartition('.')[2]}_version"


def _current(engine: Engine, table: str) -> str | None:
    with engine.connect() as conn:
        if not sa.inspect(conn).has_table(table):
            return None
        version: str | None = conn.execute(
            sa.select(sa.column("version_num")).select_from(sa.table(table))
        ).scalar()
        return version


@contextmanager
def _alone(engine: Engine, package: str) -> Generator[Connection]:
    """Yield a connection while no other process migrates the same database."""
    if engine.dialect.name == "sqlite":
        with locked(Path(f"{engine.url.database}.lock"), wait=_PATIENCE), engine.connect() as conn:
            # a batch migration re-creates tables: no cascades while it does
            conn.exec_driver_sql("PRAGMA foreign_keys=OFF")
            conn.rollback()
            yield conn
        return
    key = int.from_bytes(hashlib.sha256(package.encode()).digest()[:8], signed=True)
    with engine.connect() as conn:
        conn.exec_driver_sql(f"SET lock_timeout = {int(_PATIENCE * 1000)}")
        conn.exec_driver_sql(f"SELECT pg_advisory_lock({key})")
        schema = conn.exec_driver_sql("SHOW search_path").scalar()
        conn.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        conn.commit()
        yield conn  # the lock ends with the connection
