"""Fixtures for the tests of kit: a database of either kind, and a service that uses it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from muster.contracts.names import new_id
from muster.kit.sql import Database, open_database

ROOT = Path(__file__).parents[2]
"""From where a child process finds ``tests.kit.shelf``."""


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name an empty database, of each kind in turn."""
    kind: Literal["sqlite", "postgresql"] = request.param
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/shelf.db"
    return f"{request.getfixturevalue('postgres_url')}&schema=t{new_id()}"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """Open the database of the shelf."""
    async with open_database(database_url, migrations="tests.kit.shelf") as opened:
        yield opened
