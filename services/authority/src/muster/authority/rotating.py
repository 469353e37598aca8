"""Rotation of the signing key on the server's own console: ``muster admin key``.

It works on the files and the database; services read the keys when they start, so each step asks
for a restart.
"""

from datetime import datetime

from sqlalchemy import Connection, select

from muster.authority import chain, store
from muster.authority.part import CONSOLE, utc_now
from muster.authority.settings import Settings
from muster.authority.tables import nodes
from muster.contracts.errors import Conflict
from muster.kit.identity.rotation import Rotation
from muster.kit.sql import open_database

_NAMED = 10


async def step(settings: Settings, which: str, *, force: bool = False) -> str:
    """Do one step (``prepare``, ``switch``, ``retire``) or none (``status``); return the state.

    Raises `Conflict` if the step is not the next one, or if nodes have not heard of the next key
    and *force* is not given: they would have to join again, unless they come back before the old
    key is retired.
    """
    rotation, now = Rotation(settings.keys_dir), utc_now()
    if which == "status":
        return rotation.state
    where = settings.database_of("authority")
    async with open_database(where, migrations="muster.authority") as db:
        if which == "switch" and not force and rotation.notices():
            told = rotation.notices()[-1].at
            deaf = await db.read(lambda conn: _deaf(conn, told))
            if deaf:
                some = ", ".join(deaf[:_NAMED]) + ("…" if len(deaf) > _NAMED else "")
                raise Conflict(f"{len(deaf)} nodes have not heard of the next key yet: {some}")
        if which == "prepare":
            rotation.prepare(now)
        elif which == "switch":
            rotation.switch()
        else:
            rotation.retire(now)
        await db.write(lambda conn: _note(conn, which, now))
    return rotation.state


def _note(conn: Connection, which: str, now: datetime) -> None:
    store.begin(conn)
    chain.append(conn, CONSOLE, f"key.{which}", now=now)


def _deaf(conn: Connection, told: datetime) -> list[str]:
    """Return the nodes that have not renewed their credentials since *told*."""
    there = nodes.c.revoked.is_(None) & nodes.c.pending.is_(False)
    late = (nodes.c.renewed < told) & (nodes.c.jwt_expires > told)
    query = select(nodes.c.id).where(there, late).order_by(nodes.c.id)
    return list(conn.execute(query).scalars())
