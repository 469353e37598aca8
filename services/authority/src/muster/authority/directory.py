"""The directory in SQL: people, groups, roles, and what each person may do by them.

Each function is a part of one transaction that the caller opens.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from muster.authority.store import WAYS, passkeys_of
from muster.authority.tables import (
    identities,
    passkeys,
    people,
    rights,
    roles,
    secrets,
    state,
    user_groups,
)
from muster.contracts.people import ListUsers, RightsChanged, User, UserGroup
from muster.contracts.policy import ROLES, Grant, Role
from muster.kit import policy
from muster.kit.text import clean

_NAMED: Final = 500
"""So many people are named in one change of rights; beyond that it is everyone's."""

_KEPT: Final = timedelta(hours=1)
"""How long changes of rights are remembered: longer than any ticket lives."""


def person(conn: Connection, name: str, *, lock: bool = False) -> Any | None:
    """Return a person; *name* may be anything that a stranger has typed."""
    query = select(people, passkeys_of()).where(people.c.name == clean(name))
    return conn.execute(query.with_for_update() if lock else query).first()


def has_factor(row: Any | None) -> bool:
    """Whether a person has a second factor: an app or a passkey."""
    return row is not None and bool(row.totp or row.passkeys)


def add(conn: Connection, row: dict[str, Any]) -> None:
    """Keep a new person."""
    conn.execute(insert(people), row)


def change(conn: Connection, name: str, **values: Any) -> None:
    """Change what is given of a person."""
    conn.execute(update(people).where(people.c.name == name).values(**values))


def remove(conn: Connection, name: str) -> None:
    """Delete a person, with sessions and tokens."""
    conn.execute(delete(secrets).where(secrets.c.person == name))
    conn.execute(delete(identities).where(identities.c.person == name))
    conn.execute(delete(passkeys).where(passkeys.c.person == name))
    conn.execute(delete(people).where(people.c.name == name))


def page(conn: Connection, ask: ListUsers) -> list[User]:
    """Return people by name, one more than asked for if there are more."""
    query = _views().where(people.c.name > ask.cursor)
    if ask.people:
        query = query.where(people.c.account.is_(False))
    if ask.query:
        wanted = [
            column.icontains(clean(ask.query), autoescape=True)
            for column in (people.c.name, people.c.full_name)
        ]
        query = query.where(or_(*wanted))
    rows = conn.execute(query.order_by(people.c.name).limit(ask.limit + 1))
    return [_view(row) for row in rows]


def view(conn: Connection, name: str) -> User | None:
    """Return one person as others see it."""
    row = conn.execute(_views().where(people.c.name == name)).first()
    return None if row is None else _view(row)


def _views() -> Any:
    mine = (secrets.c.person == people.c.name) & secrets.c.kind.in_(WAYS)
    known = identities.c.person == people.c.name
    return select(
        people,
        passkeys_of(),
        select(func.max(secrets.c.seen)).where(mine).scalar_subquery().label("seen"),
        select(func.max(identities.c.subject)).where(known).scalar_subquery().label("subject"),
    )


def _view(row: Any) -> User:
    return User(
        name=row.name,
        full_name=row.full_name,
        roles=row.roles,
        groups=row.groups,
        disabled=row.disabled,
        invited=not (row.password or row.subject or row.account),
        second_factor=has_factor(row),
        subject=row.subject or "",
        mapped_roles=row.mapped,
        created=row.created,
        seen=row.seen,
        account=row.account,
    )


def all_roles(conn: Connection) -> list[Role]:
    """Return the roles that come with Muster and those that were made, by name."""
    made = [_role(row) for row in conn.execute(select(roles))]
    return sorted([*ROLES.values(), *made], key=lambda role: role.name)


def role(conn: Connection, name: str) -> Role | None:
    """Return one role."""
    if name in ROLES:
        return ROLES[name]
    row = conn.execute(select(roles).where(roles.c.name == name)).first()
    return None if row is None else _role(row)


def _role(row: Any) -> Role:
    return Role.model_validate(row._asdict())


def put_role(conn: Connection, changed: Role) -> None:
    """Keep a role."""
    delete_role(conn, changed.name)
    conn.execute(insert(roles), changed.model_dump(mode="json", exclude={"builtin"}))


def delete_role(conn: Connection, name: str) -> None:
    """Delete a role."""
    conn.execute(delete(roles).where(roles.c.name == name))


def all_groups(conn: Connection) -> list[UserGroup]:
    """Return all groups of people, by name."""
    rows = conn.execute(select(user_groups).order_by(user_groups.c.name))
    return [UserGroup.model_validate(row._asdict()) for row in rows]


def put_group(conn: Connection, group: UserGroup) -> None:
    """Keep a group of people."""
    delete_group(conn, group.name)
    conn.execute(insert(user_groups), group.model_dump(mode="json"))


def delete_group(conn: Connection, name: str) -> None:
    """Delete a group of people."""
    conn.execute(delete(user_groups).where(user_groups.c.name == name))


def roles_of(conn: Connection, row: Any) -> list[str]:
    """Return the names of a person's roles, those by groups and by the provider too."""
    return sorted({*given_roles_of(conn, row), *row.mapped})


def given_roles_of(conn: Connection, row: Any) -> list[str]:
    """Return the names of the roles that a person was given here, those by groups too."""
    names = list(row.roles)
    if row.groups:
        mine = select(user_groups.c.roles).where(user_groups.c.name.in_(row.groups))
        names += [name for found in conn.execute(mine).scalars() for name in found]
    return sorted(set(names))


def grants_of(conn: Connection, names: Sequence[str]) -> list[Grant]:
    """Return what the roles with these names allow."""
    found = [grant for name in names if name in ROLES for grant in ROLES[name].grants]
    made = [name for name in names if name not in ROLES]
    if made:
        rows = conn.execute(select(roles).where(roles.c.name.in_(made)))
        found += [grant for row in rows for grant in _role(row).grants]
    return found


def rights_of(conn: Connection, name: str) -> list[Grant]:
    """Return what a person may do; nothing for who is not there, or disabled."""
    row = person(conn, name)
    if row is None or row.disabled:
        return []
    return grants_of(conn, roles_of(conn, row))


def holders(conn: Connection, *, role: str = "", group: str = "") -> list[str]:
    """Return who has a role, directly or by a group, or who is in a group."""
    by_role = {one.name for one in all_groups(conn) if role and role in one.roles}
    wanted = by_role | ({group} if group else set())
    rows = conn.execute(select(people.c.name, people.c.roles, people.c.mapped, people.c.groups))
    return [
        row.name for row in rows if role in {*row.roles, *row.mapped} or wanted & set(row.groups)
    ]


def has_administrator(conn: Connection) -> bool:
    """Whether somebody who can log in may do everything everywhere.

    Neither a login nor a role that comes from an identity provider counts: it can be away, and
    take the role back at any time.
    """
    whole = [Grant(actions=["*"], nodes="all", run_as=["*"])]
    rows = conn.execute(select(people).where(people.c.disabled.is_(False), people.c.password != ""))
    return any(
        not policy.exceeds(grants_of(conn, given_roles_of(conn, row)), whole) for row in rows.all()
    )


def touched(conn: Connection, names: Iterable[str], now: datetime) -> RightsChanged:
    """Note that the rights of some people have changed; returns what is to be told."""
    some = sorted(set(names))
    if not some:
        return RightsChanged(revision=revision(conn))
    named = some if len(some) <= _NAMED else []
    last = conn.execute(select(state.c.revision).with_for_update()).scalar_one()
    conn.execute(update(state).values(revision=last + 1))
    conn.execute(delete(rights).where(rights.c.at < now - _KEPT))
    conn.execute(insert(rights), {"revision": last + 1, "at": now, "names": named})
    return RightsChanged(revision=last + 1, names=named, everyone=not named)


def revision(conn: Connection) -> int:
    """Return the number of the latest change of rights."""
    return int(conn.execute(select(state.c.revision)).scalar_one())


def touched_after(conn: Connection, after: int) -> RightsChanged:
    """Return whose rights have changed after a revision."""
    latest = revision(conn)
    rows = conn.execute(select(rights.c.names).where(rights.c.revision > after)).scalars().all()
    names = {name for found in rows for name in found}
    everyone = len(names) > _NAMED or not all(rows)
    return RightsChanged(
        revision=latest, names=[] if everyone else sorted(names), everyone=everyone
    )
