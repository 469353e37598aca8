"""Rotation of the server's CA on its own console: ``muster admin ca``.

It works on the files and the database. A running server needs no restart: it looks at the files.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, select

from muster.authority import chain, store
from muster.authority.part import CONSOLE, utc_now
from muster.authority.settings import Settings
from muster.authority.tables import nodes
from muster.contracts.errors import Conflict
from muster.kit.identity.authorities import Authorities, newest
from muster.kit.identity.certificates import fingerprint
from muster.kit.sql import open_database

_NAMED = 10


@dataclass(frozen=True, slots=True)
class Report:
    """How far the rotation is."""

    state: str
    """``steady``, ``prepared`` or ``switched``."""
    fingerprints: list[str]
    """Of what is trusted; the first one issues."""
    nodes: int = 0
    """That are there."""
    deaf: list[str] = field(default_factory=list)
    """The nodes that have not said yet that they trust the youngest CA."""


async def step(settings: Settings, folder: Path, which: str, *, force: bool = False) -> Report:
    """Do one step (``prepare``, ``switch``, ``retire``) or none (``status``).

    Raises `Conflict` if the step is not the next one, or if nodes do not trust the next CA yet and
    *force* is not given: they would have to hear of it from the gateway.
    """
    found, now = Authorities(folder), utc_now()
    if not found.key.exists():
        raise Conflict(f"this server has no CA of its own in {folder}")
    where = settings.database_of("authority")
    async with open_database(where, migrations="muster.authority") as db:
        if which != "status":
            deaf = (await db.read(lambda conn: _report(conn, found, now))).deaf
            if which == "switch" and not force:
                _refuse(deaf)
            more = (
                f" although {len(deaf)} nodes do not trust the next one" if deaf and force else ""
            )
            # before it is done: what is done cannot be left out
            await db.write(lambda conn: _note(conn, found, which, now, f"begun{more}"))
            _CHECKED[which](found, now)
            await db.write(lambda conn: _note(conn, found, which, now))
        return await db.read(lambda conn: _report(conn, found, now))


_CHECKED = {
    "prepare": Authorities.prepare,
    "switch": Authorities.switch,
    "retire": Authorities.retire,
}


def _refuse(deaf: list[str]) -> None:
    if deaf:
        some = ", ".join(deaf[:_NAMED]) + ("…" if len(deaf) > _NAMED else "")
        raise Conflict(
            f"{len(deaf)} nodes do not trust the next CA yet: {some}. They say so within a day, or "
            "when they are back. With --force they hear of it from the gateway afterwards"
        )


def _note(conn: Connection, found: Authorities, which: str, now: datetime, begun: str = "") -> None:
    store.begin(conn)
    detail = begun or " ".join(map(fingerprint, found.trusted()))
    chain.append(conn, CONSOLE, f"ca.{which}", now=now, detail=detail)


def _report(conn: Connection, found: Authorities, now: datetime) -> Report:
    there = nodes.c.revoked.is_(None) & nodes.c.pending.is_(False) & (nodes.c.jwt_expires > now)
    rows = conn.execute(select(nodes.c.id, nodes.c.ca).where(there).order_by(nodes.c.id)).all()
    known = {newest(found.bundle.read_text()), ""}  # nothing: it speaks without TLS
    return Report(
        state=found.state,
        fingerprints=[fingerprint(pem) for pem in found.trusted()],
        nodes=len(rows),
        deaf=[row.id for row in rows if row.ca not in known],
    )
