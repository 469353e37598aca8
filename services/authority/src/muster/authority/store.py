"""The authority's SQL: each function is a part of one transaction that the caller opens."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from muster.authority.tables import join_tokens, nodes, passkeys, people, secrets, state
from muster.contracts.authority import JoinToken
from muster.kit.linking import GENESIS

_TOKENS = 500
BEARERS = ("session", "token", "app")
"""Kinds of secrets that one comes in with."""
KEY = "key"
"""Credentials of a service account, which are shown to the broker; a ticket stands for them."""
WAYS = (*BEARERS, KEY)
"""Kinds of ways in, which are listed and ended."""


def begin(conn: Connection) -> None:
    """Write the head of an empty audit, if there is none yet."""
    if conn.execute(select(state.c.id)).first() is None:
        conn.execute(insert(state), {"id": 1, "seq": 0, "hash": GENESIS, "epoch": 1, "revision": 0})


def epoch(conn: Connection) -> int:
    """Return the epoch that commands are signed in."""
    return int(conn.execute(select(state.c.epoch)).scalar_one())


def add_secret(conn: Connection, row: dict[str, Any]) -> None:
    """Keep a session or an API token; those that have expired go."""
    conn.execute(delete(secrets).where(secrets.c.expires <= row["created"]))
    conn.execute(insert(secrets), row)


def behind(conn: Connection, hash_: str) -> Any | None:
    """Return the secret that has this hash, with its person."""
    return conn.execute(with_person().where(secrets.c.hash == hash_)).first()


def by_id(conn: Connection, secret: str) -> Any | None:
    """Return a session or token by its id, with its person."""
    return conn.execute(with_person().where(secrets.c.id == secret)).first()


def passkeys_of() -> Any:
    """Return the column that counts a person's passkeys, for queries about people."""
    mine = select(func.count()).where(passkeys.c.person == people.c.name)
    return mine.scalar_subquery().label("passkeys")


def with_person() -> Any:
    """Return the question for secrets, each with what is known of its person."""
    person = (
        passkeys_of(),
        people.c.roles,
        people.c.mapped,
        people.c.groups,
        people.c.must_change,
        people.c.disabled,
        people.c.totp,
    )
    return select(secrets, *person).join(people, people.c.name == secrets.c.person)


def credentials(conn: Connection, person: str, now: datetime) -> list[Any]:
    """Return the living ways in of a person, newest first."""
    mine = (secrets.c.person == person) & secrets.c.kind.in_(WAYS)
    query = select(secrets).where(mine, secrets.c.expires > now).order_by(secrets.c.id.desc())
    return list(conn.execute(query))


def touch(conn: Connection, secret: str, now: datetime) -> None:
    """Note that a session is in use."""
    conn.execute(update(secrets).where(secrets.c.id == secret).values(seen=now))


def freshen(conn: Connection, secret: str, now: datetime) -> None:
    """Note that the second factor was shown in a session."""
    conn.execute(update(secrets).where(secrets.c.id == secret).values(fresh=now))


def end(conn: Connection, secret: str) -> None:
    """End a session or a token."""
    conn.execute(delete(secrets).where(secrets.c.id == secret))


def end_all(conn: Connection, person: str, *kinds: str, but: str = "") -> None:
    """End all of a person's secrets of some kinds, but one."""
    mine = (secrets.c.person == person) & secrets.c.kind.in_(kinds)
    conn.execute(delete(secrets).where(mine, secrets.c.id != but))


def add_token(conn: Connection, row: dict[str, Any]) -> None:
    """Keep a join token."""
    conn.execute(insert(join_tokens), row)


def tokens(conn: Connection) -> list[JoinToken]:
    """Return the newest join tokens."""
    rows = conn.execute(select(join_tokens).order_by(join_tokens.c.id.desc()).limit(_TOKENS))
    return [JoinToken.model_validate(row._asdict()) for row in rows]


def drop_token(conn: Connection, token: str) -> bool:
    """Delete a join token; returns whether there was one."""
    return bool(conn.execute(delete(join_tokens).where(join_tokens.c.id == token)).rowcount)


def token(conn: Connection, hash_: str) -> Any | None:
    """Return the join token whose secret has this hash."""
    return conn.execute(select(join_tokens).where(join_tokens.c.hash == hash_)).first()


def burn(conn: Connection, token: str, node: str, now: datetime) -> None:
    """Note that a join token has been used."""
    conn.execute(update(join_tokens).where(join_tokens.c.id == token).values(used=now, node=node))


def has_key(conn: Connection, public_key: str) -> bool:
    """Whether some node, revoked or not, has this key."""
    query = select(nodes.c.id).where(nodes.c.public_key == public_key)
    return conn.execute(query).first() is not None


def add_node(conn: Connection, row: dict[str, Any]) -> None:
    """Keep a new node."""
    conn.execute(insert(nodes), row)


def node(conn: Connection, node: str) -> Any | None:
    """Return a node."""
    return conn.execute(select(nodes).where(nodes.c.id == node)).first()


def remember_record(conn: Connection, node: str, seq: int, hash_: str) -> None:
    """Note how far a node's own record went, and what it was bound by there."""
    values = {"record_seq": seq, "record_hash": hash_}
    conn.execute(update(nodes).where(nodes.c.id == node).values(**values))


def nodes_of(conn: Connection, certificate: str) -> list[Any]:
    """Return the nodes, revoked or not, that have joined with a certificate."""
    query = select(nodes).where(nodes.c.certificate == certificate).order_by(nodes.c.joined)
    return list(conn.execute(query)) if certificate else []


def extend(conn: Connection, node: str, now: datetime, until: datetime, ca: str | None) -> None:
    """Note that a node has fresh credentials, how long they are good for, and whom it trusts."""
    values = {"renewed": now, "jwt_expires": until, "ca": ca}
    conn.execute(update(nodes).where(nodes.c.id == node).values(**values))


def approve(conn: Connection, node: str) -> None:
    """Note that a node is let in."""
    conn.execute(update(nodes).where(nodes.c.id == node).values(pending=False))


def revoke(conn: Connection, node: str, now: datetime) -> None:
    """Note that a node is shut out."""
    conn.execute(update(nodes).where(nodes.c.id == node).values(revoked=now))


def revoked(conn: Connection, now: datetime) -> dict[str, datetime]:
    """Return the keys of nodes that are out, or not in yet, and since when."""
    out = nodes.c.revoked.is_not(None) | nodes.c.pending
    shut = select(nodes).where(out, nodes.c.jwt_expires > now)
    return {row.public_key: row.revoked or row.joined for row in conn.execute(shut)}


def missing(conn: Connection, wanted: Iterable[str]) -> set[str]:
    """Return those of *wanted* that are no nodes, revoked, or not approved yet."""
    some = set(wanted)
    there = nodes.c.revoked.is_(None) & nodes.c.pending.is_(False)
    query = select(nodes.c.id).where(nodes.c.id.in_(some), there)
    return some - set(conn.execute(query).scalars())
