"""Identities in SQL: as whom a provider knows a person.

Each function is a part of one transaction that the caller opens.
"""

from collections.abc import Set as AbstractSet
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


def forget(conn: Connection, name: str) -> None:
    """Forget as whom any provider knows a person, and the roles that they had by it."""
    conn.execute(delete(identities).where(identities.c.person == name))
    conn.execute(update(people).where(people.c.name == name).values(mapped=[]))


def narrow(conn: Connection, issuer: str, given: AbstractSet[str]) -> list[str]:
    """Leave of roles by groups only those that *issuer* can give now; returns whose are fewer."""
    ours = set(
        conn.execute(select(identities.c.person).where(identities.c.issuer == issuer)).scalars()
    )
    fewer = {}
    for row in conn.execute(select(people.c.name, people.c.mapped)):
        kept = [role for role in row.mapped if row.name in ours and role in given]
        if kept != row.mapped:
            fewer[row.name] = kept
    for name, kept in fewer.items():
        conn.execute(update(people).where(people.c.name == name).values(mapped=kept))
    return list(fewer)
