"""What the authority keeps: people, sessions, tokens, nodes' credentials, the audit."""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
)

from muster.kit.outbox import inbox_table, outbox_table
from muster.kit.sql import UtcTime

metadata: Final = MetaData()

people: Final = Table(
    "people",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("full_name", String(200), nullable=False, server_default=""),
    Column("password", Text, nullable=False),  # argon2id; empty: none yet
    Column("roles", JSON, nullable=False),
    Column("groups", JSON, nullable=False, server_default="[]"),
    Column("mapped", JSON, nullable=False, server_default="[]"),  # roles by the provider's groups
    Column("must_change", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("totp", Text, nullable=False, server_default=""),  # encrypted; empty: none
    Column("totp_next", Text, nullable=False, server_default=""),  # not confirmed yet
    Column("totp_step", BigInteger, nullable=False, server_default="0"),  # of the last code
    Column("created", UtcTime, nullable=False),
    Column("account", Boolean, nullable=False, server_default=false()),  # of a program
)

identities: Final = Table(
    "identities",  # as whom an identity provider knows a person
    metadata,
    Column("issuer", String(500), primary_key=True),
    Column("subject", String(255), primary_key=True),
    Column("person", ForeignKey("people.name", ondelete="CASCADE"), nullable=False),
    Column("created", UtcTime, nullable=False),
)
Index("identities_by_person", identities.c.person, identities.c.issuer, unique=True)

passkeys: Final = Table(
    "passkeys",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("credential", String(1400), nullable=False, unique=True),  # what its device calls it
    Column("person", ForeignKey("people.name", ondelete="CASCADE"), nullable=False, index=True),
    Column("handle", String(100), nullable=False),  # what its device calls the person
    Column("public_key", Text, nullable=False),  # COSE
    Column("uses", BigInteger, nullable=False),  # as its device counts them; 0: it does not
    Column("name", String(100), nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("used", UtcTime),
)

roles: Final = Table(
    "roles",  # besides those that come with Muster
    metadata,
    Column("name", String(63), primary_key=True),
    Column("grants", JSON, nullable=False),
    Column("note", String(200), nullable=False),
    Column("version", Integer, nullable=False),
)

user_groups: Final = Table(
    "user_groups",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("roles", JSON, nullable=False),
    Column("note", String(200), nullable=False),
)

rights: Final = Table(
    "rights",  # who was touched by the latest changes of rights
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("names", JSON, nullable=False),  # nobody named: everybody
)

secrets: Final = Table(
    "secrets",  # sessions, tokens, invitations, recovery codes, keys: what a secret stands for
    metadata,
    Column("id", String(26), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),  # SHA-256 of the secret
    Column("kind", String(16), nullable=False),  # or half: a login that still lacks its code
    Column("name", String(200), nullable=False, server_default=""),
    Column("scopes", JSON, nullable=False, server_default='["*"]'),
    Column("person", ForeignKey("people.name", ondelete="CASCADE"), nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("expires", UtcTime, nullable=False),
    Column("seen", UtcTime, nullable=False),
    Column("address", String(200), nullable=False),
    Column("agent", String(200), nullable=False),
    Column("fresh", UtcTime),  # when the second factor was last shown in this session
    Column("proven", UtcTime),  # when the person came in; not when a session has let in another
    Column("key", String(56), nullable=False, server_default=""),  # public, of a service account
    Column("signer", String(56), nullable=False, server_default=""),  # who has signed for it
)

join_tokens: Final = Table(
    "join_tokens",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created", UtcTime, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("expires", UtcTime, nullable=False),
    Column("used", UtcTime),
    Column("node", String(17)),
    Column("name", String(63)),
    Column("groups", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("note", String(200), nullable=False),
    Column("approve", Boolean, nullable=False, server_default=false()),
)

nodes: Final = Table(
    "nodes",
    metadata,
    Column("id", String(17), primary_key=True),
    Column("public_key", String(56), nullable=False, unique=True),
    Column("hostname", Text, nullable=False),
    Column("joined", UtcTime, nullable=False),
    Column("jwt_expires", UtcTime, nullable=False),
    Column("renewed", UtcTime, nullable=False, server_default="1970-01-01 00:00:00"),
    Column("revoked", UtcTime),
    Column("pending", Boolean, nullable=False, server_default=false()),  # nobody has approved it
    Column("certificate", String(64), nullable=False, server_default=""),  # it has joined with
    Column("record_seq", BigInteger, nullable=False, server_default="0"),  # of its own record
    Column("record_hash", String(64), nullable=False, server_default=""),  # when last compared
    Column("ca", String(200)),  # the youngest CA that it trusts; empty: no TLS; null: not said
)

approvals: Final = Table(
    "approvals",  # what one person wants to run and another has to approve
    metadata,
    Column("run", String(26), primary_key=True),
    Column("by", String(200), nullable=False),
    Column("nodes", JSON, nullable=False),
    Column("digest", String(64), nullable=False),  # SHA-256 of the command's arguments
    Column("run_as", String(200), nullable=False),
    Column("summary", Text, nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("expires", UtcTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("decided", UtcTime),
    Column("decided_by", String(200), nullable=False),
    Column("reason", String(200), nullable=False),
)
Index("approvals_by_state", approvals.c.state, approvals.c.run)

audit: Final = Table(
    "audit",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("who", String(200), nullable=False),
    Column("action", String(200), nullable=False),
    Column("nodes", JSON, nullable=False),
    Column("result", String(200), nullable=False),
    Column("detail", Text, nullable=False),
    Column("address", String(200), nullable=False),
    Column("run", String(26), nullable=False),
    Column("hash", String(64), nullable=False),
)
Index("audit_by_action", audit.c.action, audit.c.seq)
Index("audit_by_who", audit.c.who, audit.c.seq)

state: Final = Table(
    "state",  # one row: the head of the audit, which whoever appends locks, and counters
    metadata,
    Column("id", Integer, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False, server_default="0"),  # of the rights
)

outbox: Final = outbox_table(metadata)
inbox: Final = inbox_table(metadata)
