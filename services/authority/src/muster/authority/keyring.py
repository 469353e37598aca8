"""The passkeys of people in SQL; each function is a part of one transaction of the caller."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from muster.authority.tables import passkeys, people
from muster.contracts.passkeys import Passkey


def of(conn: Connection, name: str) -> list[Any]:
    """Return the passkeys of a person, oldest first."""
    query = select(passkeys).where(passkeys.c.person == name).order_by(passkeys.c.id)
    return list(conn.execute(query))


def known(conn: Connection, name: str) -> list[str]:
    """Return what authenticators call the passkeys of a person."""
    return [row.credential for row in of(conn, name)]


def find(conn: Connection, credential: str) -> Any | None:
    """Return a passkey by what its authenticator calls it, with its person."""
    person = (people.c.password, people.c.disabled)
    query = select(passkeys, *person).join(people, people.c.name == passkeys.c.person)
    return conn.execute(query.where(passkeys.c.credential == credential)).first()


def mine(conn: Connection, name: str, passkey: str) -> Any | None:
    """Return a passkey of a person."""
    return next((row for row in of(conn, name) if row.id == passkey), None)


def add(conn: Connection, row: dict[str, Any]) -> None:
    """Keep a new passkey."""
    conn.execute(insert(passkeys), row)


def used(conn: Connection, passkey: str, uses: int, now: datetime) -> None:
    """Note that a passkey was shown."""
    values = {"uses": uses, "used": now}
    conn.execute(update(passkeys).where(passkeys.c.id == passkey).values(**values))


def rename(conn: Connection, passkey: str, name: str) -> None:
    """Call a passkey something else."""
    conn.execute(update(passkeys).where(passkeys.c.id == passkey).values(name=name))


def drop(conn: Connection, passkey: str) -> None:
    """Forget a passkey."""
    conn.execute(delete(passkeys).where(passkeys.c.id == passkey))


def drop_all(conn: Connection, name: str) -> None:
    """Forget all passkeys of a person."""
    conn.execute(delete(passkeys).where(passkeys.c.person == name))


def view(row: Any) -> Passkey:
    """Return a passkey as its owner sees it."""
    return Passkey(id=row.id, name=row.name, created=row.created, used=row.used)
