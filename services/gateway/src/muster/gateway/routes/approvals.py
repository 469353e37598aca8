"""Approvals: what waits for another person."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from muster.contracts.approvals import (
    APPROVE,
    LIST_APPROVALS,
    REFUSE,
    Approve,
    ListApprovals,
    Refuse,
)
from muster.contracts.base import Message
from muster.contracts.names import Id, Note
from muster.gateway.gate import Me
from muster.gateway.openapi import declared, relayed

router = APIRouter(tags=["runs"])

RunId = Annotated[Id, Path(description="id of the run that waits")]


class Approved(Message):
    """What the approver wants to be remembered."""

    reason: Note = ""


class Refused(Message):
    """Why not."""

    reason: Annotated[Note, Field(min_length=1)]


@router.get("/approvals", summary="List approvals", **relayed(LIST_APPROVALS, "listApprovals"))
async def list_approvals(ask: Annotated[ListApprovals, Query()], me: Me) -> Response:
    """Answer what I wait for, and what waits for me, newest first."""
    return await me.relay(LIST_APPROVALS, ask)


@router.post(
    "/approvals/{run}/approve",
    summary="Approve a run",
    status_code=204,
    **declared(APPROVE, "approveRun"),
)
async def approve(run: RunId, me: Me, body: Approved | None = None) -> None:
    """Let a run of somebody else begin."""
    await me.ask(APPROVE, Approve(run=run, reason=body.reason if body else ""))


@router.post(
    "/approvals/{run}/refuse",
    summary="Refuse a run",
    status_code=204,
    **declared(REFUSE, "refuseRun"),
)
async def refuse(run: RunId, body: Refused, me: Me) -> None:
    """Let a run of somebody else never begin."""
    await me.ask(REFUSE, Refuse(run=run, reason=body.reason))
