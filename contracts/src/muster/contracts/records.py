"""What a node has written down of what it executed, and how that compares with the audit."""

from typing import Annotated, Final

from pydantic import Field

from muster.contracts.base import Call, Message
from muster.contracts.names import Count, Hostile, Id, NodeId, ShortText, Time
from muster.contracts.runs import State

PAGE: Final = 1000
"""Records in one answer of a node."""

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class NodeRecord(Message):
    """One command that a node has taken; its hash binds all before it, see `kit.linking`."""

    seq: Count
    at: Time
    run: Id
    command: Id
    """The envelope's id."""
    state: State
    """What it began with: started, refused, or cancelled before."""
    hash: Hash


class ReadRecords(Message):
    """Arguments of the verb `records`: those that follow."""

    after: Count = 0


class NodeRecords(Message):
    """What a node answers, oldest first."""

    items: Annotated[list[NodeRecord], Field(max_length=PAGE)] = []
    last: Count = 0
    """The number of the newest record that there is."""


class CheckNode(Message):
    """Hold what a node has written down against the audit."""

    node: NodeId


class SignedRun(Message):
    """A run that was signed for a node, as the audit has it."""

    run: Id
    at: Time
    who: ShortText


class NodeCheck(Message):
    """What the comparison has found."""

    node: NodeId
    at: Time
    records: Count
    """So many are there; a node keeps the newest ones."""
    since: Time | None = None
    """When the oldest of them was written."""
    hash: str = ""
    """Of the newest."""
    broken_at: Count | None = None
    """The first record that does not follow from the one before it."""
    complaint: Hostile = ""
    """What else is wrong: it was begun anew, or is another one than before."""
    unsigned: Annotated[list[NodeRecord], Field(max_length=100)] = []
    """What it says to have executed, and nobody has signed; the first hundred."""
    unseen: Annotated[list[SignedRun], Field(max_length=100)] = []
    """What was signed for it and is not there: it waits, has expired, or was kept back."""


CHECK_NODE: Final = Call(
    "muster.svc.authority.check_node", CheckNode, NodeCheck, "audit.read", safe=True
)
