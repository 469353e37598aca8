"""Four eyes: what one person wants to run and another has to approve before it is signed.

The way of it: `SIGN` leaves the envelopes of some nodes empty and keeps what was asked for; another
person approves; the scheduler hears `APPROVAL_DECIDED` and has the rest signed by `RELEASE`.
"""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from muster.contracts.authority import CHUNK
from muster.contracts.base import SERVICE, Call, Event, Message, Nothing
from muster.contracts.names import (
    Id,
    Limit,
    LongText,
    NodeId,
    NodeName,
    Note,
    ShortText,
    Time,
)


class ApprovalState(StrEnum):
    """Where it is; all but the first are final."""

    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    """The run was cancelled."""


class Approval(Message):
    """What waits, or waited, for another person; it has the id of its run."""

    run: Id
    by: ShortText
    summary: LongText
    run_as: ShortText = ""
    nodes: list[NodeName]
    state: ApprovalState
    created: Time
    expires: Time
    decided: Time | None = None
    decided_by: ShortText = ""
    reason: Note = ""


class ListApprovals(Message):
    """A page of one's own and of those that one may approve, newest first."""

    state: ApprovalState | None = ApprovalState.PENDING
    """None: all of them."""
    limit: Limit = 100
    before: ShortText = ""


class Approvals(Message):
    """Some approvals."""

    items: list[Approval]
    next: str = ""


class Approve(Message):
    """Let a run of somebody else begin."""

    run: Id
    reason: Note = ""


class Refuse(Message):
    """Let a run of somebody else never begin."""

    run: Id
    reason: Annotated[Note, Field(min_length=1)]


class Release(Message):
    """The scheduler asks for the signatures of a run that was approved."""

    run: Id
    nodes: Annotated[list[NodeId], Field(min_length=1, max_length=CHUNK)]


class Released(Message):
    """The envelopes, in the order of the nodes; empty where it is refused after all."""

    envelopes: list[bytes]
    refused: dict[NodeId, ShortText] = {}


class ApprovalDecided(Message):
    """Somebody has approved or refused a run."""

    run: Id
    approved: bool
    by: ShortText
    reason: Note = ""


LIST_APPROVALS: Final = Call(
    "muster.svc.authority.approval_list", ListApprovals, Approvals, "self", safe=True
)
APPROVE: Final = Call("muster.svc.authority.approve", Approve, Nothing, "run.approve")
REFUSE: Final = Call("muster.svc.authority.refuse", Refuse, Nothing, "run.approve")
RELEASE: Final = Call("muster.svc.authority.release", Release, Released, SERVICE)

APPROVAL_DECIDED: Final = Event(
    "muster.fact.authority.approval.{0}.decided", ApprovalDecided, durable=True
)
