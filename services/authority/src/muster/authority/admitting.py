"""What is written down when a host comes in as a node, and when a node is shut out."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from muster.authority import chain, store
from muster.contracts.errors import Conflict
from muster.contracts.names import new_node_id
from muster.contracts.nodes import NODE_JOINED, NODE_REVOKED, NodeJoined, NodeRevoked
from muster.kit import outbox
from muster.kit.text import clean


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A host that comes in, and what it begins with."""

    public_key: str
    hostname: str
    pending: bool
    by: str
    """By what it comes in, for the audit."""
    detail: str
    address: str
    name: str | None = None
    groups: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    certificate: str = ""
    ca: str = ""


def refuse_known(conn: Connection, public_key: str) -> None:
    """Raise if some node, revoked or not, has this key."""
    if store.has_key(conn, public_key):
        raise Conflict("a node with this key has joined before")


def enter(conn: Connection, one: Newcomer, until: datetime, now: datetime) -> str:
    """Make a node of *one*; return its id."""
    refuse_known(conn, one.public_key)
    node = new_node_id()
    row = {
        "id": node,
        "public_key": one.public_key,
        "hostname": clean(one.hostname),
        "joined": now,
        "jwt_expires": until,
        "renewed": now,
        "pending": one.pending,
        "certificate": one.certificate,
        "ca": one.ca,
    }
    store.add_node(conn, row)
    fact = NodeJoined(
        id=node,
        hostname=one.hostname,
        name=one.name,
        groups=one.groups,
        tags=one.tags,
        public_key=one.public_key,
        at=now,
        pending=one.pending,
    )
    outbox.put(conn, NODE_JOINED, fact, node)
    chain.append(
        conn, one.by, "node.join", now=now, nodes=[node],
        result="pending" if one.pending else "ok", detail=one.detail, address=one.address,
    )  # fmt: skip
    return node


def shut_out(
    conn: Connection, node: str, by: str, *, reason: str, now: datetime, address: str
) -> None:
    """Note that a node is revoked."""
    store.revoke(conn, node, now)
    fact = NodeRevoked(id=node, by=by, reason=reason, at=now)
    outbox.put(conn, NODE_REVOKED, fact, node)
    chain.append(conn, by, "node.revoke", now=now, nodes=[node], detail=reason, address=address)
