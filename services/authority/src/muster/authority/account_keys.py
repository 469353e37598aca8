"""Service accounts in SQL: who they are, and which credentials are good.

A service account is a person without a password; its credentials are among the secrets, of the kind
`KEY`. Each function is a part of one transaction that the caller opens.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select

from muster.authority import directory
from muster.authority.store import KEY, with_person
from muster.authority.tables import people, secrets
from muster.contracts.accounts import Account
from muster.contracts.people import RightsChanged
from muster.kit import policy
from muster.kit.identity import outside

MOST: Final = 200
"""So many service accounts fit, with what they may do, into what the broker takes at once."""


def _living(conn: Connection, now: datetime) -> list[Any]:
    """Return the credentials that have not ended, with their accounts, newest first."""
    good = (secrets.c.kind == KEY) & (secrets.c.expires > now)
    return list(conn.execute(with_person().where(good).order_by(secrets.c.id.desc())))


def templates(conn: Connection, now: datetime) -> dict[str, outside.Template]:
    """Return what the broker is to let each credential do, by who has signed it."""
    found = [row for row in _living(conn, now) if not row.disabled]
    return {row.signer: outside.template(row.person, _permissions(conn, row)) for row in found}


def _permissions(conn: Connection, row: Any) -> list[str]:
    return policy.permissions(directory.grants_of(conn, directory.roles_of(conn, row)))


def accounts(conn: Connection, now: datetime, name: str = "") -> list[Account]:
    """Return all service accounts by name, or the one called *name*."""
    query = select(people).where(people.c.account.is_(True))
    if name:
        query = query.where(people.c.name == name)
    newest: dict[str, Any] = {}
    for row in _living(conn, now):
        newest.setdefault(row.person, row)
    rows = conn.execute(query.order_by(people.c.name)).all()
    return [_view(conn, row, newest.get(row.name)) for row in rows]


def _view(conn: Connection, row: Any, key: Any | None) -> Account:
    good = key is not None and not row.disabled
    return Account(
        name=row.name,
        note=row.full_name,
        roles=row.roles,
        groups=row.groups,
        disabled=row.disabled,
        created=row.created,
        expires=key.expires if key else None,
        seen=key.seen if key and key.seen > key.created else None,
        key=key.key if key else "",
        subjects=outside.sayable(row.name, _permissions(conn, row)) if good else [],
    )


def number(conn: Connection) -> int:
    """Return how many service accounts there are."""
    query = select(func.count()).select_from(people).where(people.c.account.is_(True))
    return int(conn.execute(query).scalar_one())


def newest(conn: Connection, name: str, now: datetime) -> Any | None:
    """Return the newest credentials of a service account that are good."""
    mine = [row for row in _living(conn, now) if row.person == name and not row.disabled]
    return mine[0] if mine else None


def holder(conn: Connection, key: str, now: datetime) -> str:
    """Return whose credentials have this public key, or nothing."""
    return next((row.person for row in _living(conn, now) if row.key == key), "")


def last_key(conn: Connection, name: str, now: datetime) -> str:
    """Return the public key of a service account, disabled or not, or nothing."""
    return next((row.key for row in _living(conn, now) if row.person == name), "")


def make_room(conn: Connection, name: str, key: str, now: datetime) -> None:
    """End the credentials of other keys than *key*, and of the same one all but the newest.

    That one stays until it ends, so that whoever uses it is not cut off by its renewal.
    """
    mine = [row for row in _living(conn, now) if row.person == name]
    stays = next((row.id for row in mine if row.key == key), "")
    gone = [row.id for row in mine if row.id != stays]
    conn.execute(delete(secrets).where(secrets.c.id.in_(gone)))


def concerned(conn: Connection, change: RightsChanged) -> bool:
    """Whether a change of rights is one of service accounts, too."""
    query = select(people.c.name).where(people.c.account.is_(True))
    if not change.everyone:
        query = query.where(people.c.name.in_(change.names))
    return conn.execute(query).first() is not None
