"""What the authority answers: sessions, join tokens, node credentials, signatures, audit."""

from typing import Annotated, Final

from pydantic import Field

from muster.contracts.base import NODE, SERVICE, Call, Event, Message, Nothing
from muster.contracts.names import (
    Count,
    Id,
    Int,
    Label,
    Limit,
    LongText,
    NodeId,
    NodeName,
    Note,
    Password,
    PublicKey,
    Seconds,
    ShortText,
    Time,
    Username,
)
from muster.contracts.policy import Grant

CHUNK: Final = 1000
"""How many nodes one `SIGN` may name, so that the answer fits in a message."""


class Origin(Message):
    """Where a person's request came from, for the audit."""

    address: ShortText = ""
    agent: ShortText = ""


class Person(Message):
    """Who is asking, as the ticket proves."""

    name: Username
    roles: list[Label] = []
    permissions: list[ShortText] = []
    """What may be done somewhere, at some time; `grants` say where and when."""
    grants: list[Grant] = []
    must_change_password: bool = False
    second_factor: bool = False
    """Has one set up."""


class Ticket(Message):
    """A short-lived proof of who is asking; signed, so that services verify it offline."""

    person: Person
    session: Id
    origin: Origin = Origin()
    issued: Time
    expires: Time
    revision: Int = 0
    """Of the rights; when they have changed since, the ticket is worthless."""


class Login(Message):
    """A name and a password."""

    name: ShortText
    password: Password
    code: ShortText = ""
    """Of the second factor, where there is one; it may also be asked for afterwards."""
    origin: Origin = Origin()


class Session(Message):
    """A session has begun; the secret is told only here."""

    secret: str
    person: Person
    expires: Time
    needs_code: bool = False
    """It has not begun yet: the secret is good for nothing but `SECOND_STEP`."""
    passkey: bool = False
    """A passkey would do instead of a code, see `LOGIN_BY_PASSKEY`."""


class Exchange(Message):
    """A session secret, an API token or an app password, to be exchanged for a ticket."""

    secret: Annotated[str, Field(max_length=200)]
    origin: Origin = Origin()
    name: ShortText = ""
    """Who says to have it: given with an app password, and with nothing else."""


class Granted(Message):
    """A signed ticket and what it says."""

    ticket: str
    person: Person
    expires: Time


class ChangePassword(Message):
    """The old password and a new one (at least 10 characters)."""

    old: Password
    new: Annotated[str, Field(min_length=10, max_length=1000)]


class CreateJoinToken(Message):
    """A token for one host to join."""

    ttl: Seconds = 900.0
    name: NodeName | None = None
    groups: list[Label] = []
    tags: dict[Label, Label] = {}
    note: Note = ""
    approve: bool = False
    """Somebody has to approve the node before it can do anything."""


class JoinTokenCreated(Message):
    """The secret of a join token is told only here."""

    id: Id
    secret: str
    expires: Time


class JoinToken(Message):
    """A join token, without its secret."""

    id: Id
    created: Time
    created_by: ShortText
    expires: Time
    used: Time | None = None
    node: NodeId | None = None
    note: ShortText = ""


class JoinTokens(Message):
    """Newest first."""

    items: list[JoinToken]


class RevokeJoinToken(Message):
    """Make a join token worthless."""

    id: Id


class Join(Message):
    """A host asks to become a node; it has made its key itself."""

    secret: Annotated[str, Field(max_length=200)]
    public_key: PublicKey
    hostname: Annotated[str, Field(max_length=253)] = ""
    proof: bytes
    """The signature of the host's key over ``secret + public_key``: it holds the private half."""
    origin: Origin = Origin()


class Joined(Message):
    """A host has become a node."""

    node: NodeId
    jwt: str
    """The NATS user JWT; the seed never left the host."""
    authority_keys: list[str]
    """Public Ed25519 keys (raw, base64) whose commands the agent may obey."""
    epoch: Int
    urls: list[str]
    """Where the broker listens."""
    ca: str = ""
    """PEM of the certificate authority; empty when the broker speaks no TLS."""
    pending: bool = False
    """Somebody has to approve the node; until then the broker does not let it in."""


class RenewJwt(Message):
    """A node asks for a fresh JWT for the key that it has."""

    ca: ShortText | None = None
    """The fingerprint of the youngest CA that it trusts; empty if it speaks without TLS."""


class KeyNotice(Message):
    """Which keys may sign from now on, sealed by one that might before."""

    keys: Annotated[list[ShortText], Field(min_length=1, max_length=8)]
    """Public Ed25519 keys (raw, base64)."""
    at: Time
    seal: ShortText
    """See `muster.kit.identity.seals`."""


class CaNotice(Message):
    """Which certificate authorities the server may be of from now on."""

    ca: Annotated[str, Field(max_length=64 * 1024)]
    """PEM, the one that issues first."""
    seal: ShortText
    """By a key that may sign commands; see `muster.kit.identity.authorities`."""


class Renewed(Message):
    """A fresh JWT, and what has become of the keys that the node has pinned."""

    jwt: str
    authority_keys: list[str]
    epoch: Int
    notices: Annotated[list[KeyNotice], Field(max_length=64)] = []
    """Oldest first, see `muster.kit.identity.rotation`."""
    ca: CaNotice | None = None
    server: ShortText = ""
    """Where the gateway is, for a node that finds the broker under another CA."""


class RevokeNode(Message):
    """Shut a node out, at once and for good."""

    node: NodeId
    reason: LongText = ""


class ApproveNode(Message):
    """Let a pending node in."""

    node: NodeId


class Sign(Message):
    """Sign one command for each of some nodes, on behalf of the ticket's person."""

    verb: Label
    """``run``, ``cancel`` or ``read``."""
    run: Id
    nodes: Annotated[list[NodeId], Field(min_length=1, max_length=CHUNK)]
    total: Count = 0
    """The nodes of the whole run, if they are asked for in parts."""
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the argument bytes that travel behind the envelope."""
    run_as: ShortText = ""
    expires: Time
    summary: LongText = ""
    """What is done, for the audit."""


class Signed(Message):
    """The envelopes, in the order of the nodes; empty where another person has to approve first."""

    envelopes: list[bytes]


class Recheck(Message):
    """Whether somebody may still do on these nodes what was signed for them before."""

    person: ShortText
    verb: Label
    run_as: ShortText = ""
    nodes: Annotated[list[NodeId], Field(max_length=CHUNK)]


class Rechecked(Message):
    """Where they may not any more, and why."""

    refused: dict[NodeId, ShortText] = {}


class Flood(Message):
    """A service tells of a node that says far more than an honest one does."""

    node: NodeId
    service: ShortText


class AuditRecord(Message):
    """One line of the audit."""

    seq: Int
    at: Time
    who: ShortText
    action: ShortText
    nodes: list[str] = []
    result: ShortText
    detail: LongText = ""
    address: ShortText = ""
    run: str = ""
    hash: str
    """SHA-256 over the previous hash and this record's canonical JSON, hexadecimal."""


class ListAudit(Message):
    """A page of the audit, newest first; oldest first if `after` is given."""

    limit: Limit = 100
    before: Int | None = None
    """Only records with a smaller `seq`."""
    after: Int | None = None
    """Only records with a larger `seq`."""
    text: ShortText = ""
    """A part of who, action, result, detail, address, run or a node's id."""
    result: ShortText = ""
    node: ShortText = ""
    """The id of a node."""
    since: Time | None = None
    until: Time | None = None
    who: ShortText = ""
    action: ShortText = ""
    """A prefix: ``run.`` finds every action on runs."""


class AuditPage(Message):
    """Some audit records."""

    items: list[AuditRecord]
    next: Int | None = None


class AuditVerdict(Message):
    """Whether the chain is whole."""

    records: Int
    head: str
    broken_at: Int | None = None
    """The first `seq` that does not follow from the one before it."""
    heads: Int = 0
    """Published heads that the chain was held against."""
    signed: Time | None = None
    """When the latest of them was published."""
    complaint: ShortText = ""
    """What contradicts them."""


class AuditHead(Message):
    """What the chain was at a time, signed by the authority."""

    seq: Int
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    at: Time
    signature: ShortText
    """See `muster.kit.identity.seals`."""


class Alert(Message):
    """A service tells of something that should not be, for the audit."""

    node: NodeId
    what: Label
    detail: ShortText


class Refusal(Message):
    """A service tells that it has refused a question, for the audit."""

    who: ShortText
    action: ShortText
    service: ShortText
    detail: ShortText
    address: ShortText = ""


LOGIN: Final = Call("muster.svc.authority.login", Login, Session, SERVICE)
EXCHANGE: Final = Call("muster.svc.authority.exchange", Exchange, Granted, SERVICE, safe=True)
LOGOUT: Final = Call("muster.svc.authority.logout", Exchange, Nothing, SERVICE)
CHANGE_PASSWORD: Final = Call("muster.svc.authority.password", ChangePassword, Nothing, "self")
CREATE_JOIN_TOKEN: Final = Call(
    "muster.svc.authority.token_create", CreateJoinToken, JoinTokenCreated, "node.join"
)
LIST_JOIN_TOKENS: Final = Call(
    "muster.svc.authority.token_list", Nothing, JoinTokens, "node.join", safe=True
)
REVOKE_JOIN_TOKEN: Final = Call(
    "muster.svc.authority.token_revoke", RevokeJoinToken, Nothing, "node.join"
)
JOIN: Final = Call("muster.svc.authority.join", Join, Joined, SERVICE)
RENEW: Final = Call("muster.svc.authority.renew", RenewJwt, Renewed, NODE)
APPROVE_NODE: Final = Call("muster.svc.authority.node_approve", ApproveNode, Nothing, "node.join")
REVOKE_NODE: Final = Call("muster.svc.authority.revoke", RevokeNode, Nothing, "node.revoke")
SIGN: Final = Call("muster.svc.authority.sign", Sign, Signed, "self")
"""Which permission is needed depends on the verb; the authority knows."""
RECHECK: Final = Call("muster.svc.authority.recheck", Recheck, Rechecked, SERVICE, safe=True)
FLOODS: Final = Call("muster.svc.authority.floods", Flood, Nothing, SERVICE)
ALERT: Final = Call("muster.svc.authority.alert", Alert, Nothing, SERVICE)
REFUSED: Final = Call("muster.svc.authority.refused", Refusal, Nothing, SERVICE)
AUDIT_HEAD: Final = Event("muster.audit.authority.{0}", AuditHead, durable=True)
LIST_AUDIT: Final = Call(
    "muster.svc.authority.audit", ListAudit, AuditPage, "audit.read", safe=True
)
VERIFY_AUDIT: Final = Call(
    "muster.svc.authority.audit_verify", Nothing, AuditVerdict, "audit.read", safe=True
)
