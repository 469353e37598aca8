"""Identities in SQL: as whom a provider knows a person.

Each function is a part of one transaction that the caller opens.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from muster.authority.tables import identities, people


def whose(conn: Connection, issuer: str, subject: str) -> str | None:
    """Return the person whom *issuer* calls *subject*."""
    query = select(identities.c.person).where(
        identities.c.issuer == issuer, identities.c.subject == subject
    )
    return conn.execute(query).scalar()


def subject_of(conn: Connection, issuer: str, name: str) -> str:
    """Return what *issuer* calls a person; empty if it does not know them."""
    query = select(identities.c.subject).where(
        identities.c.issuer == issuer, identities.c.person == name
    )
    return conn.execute(query).scalar() or ""


def link(conn: Connection, issuer: str, subject: str, name: str, now: datetime) -> None:
    """Note that *issuer* calls a person *subject*; an earlier name there is forgotten."""
    unlink(conn, issuer, name)
    row = {"issuer": issuer, "subject": subject, "person": name, "created": now}
    conn.execute(insert(identities), row)


def unlink(conn: Connection, issuer: str, name: str) -> None:
    """Forget as whom *issuer* knows a person, and the roles that they had by it."""
    mine = (identities.c.issuer == issuer) & (identities.c.person == name)
    conn.execute(delete(identities).where(mine))
    conn.execute(update(people).where(people.c.name == name).values(mapped=[]))


def forget_others(conn: Connection, issuer: str) -> Sequence[str]:
    """Take the roles that somebody has by another provider than *issuer*; returns whose."""
    ours = select(identities.c.person).where(identities.c.issuer == issuer)
    rows = conn.execute(select(people.c.name, people.c.mapped).where(people.c.name.not_in(ours)))
    names = [row.name for row in rows if row.mapped]
    for name in names:
        conn.execute(update(people).where(people.c.name == name).values(mapped=[]))
    return names
